"""Checkpoints from the network: each is there whole or not at all, and a server that does not answer is an error."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..utils.fileio import atomic_path
from .errors import CheckpointError

# Seconds without an answer, or without a byte of the file.
TIMEOUT = 20
WEB = ('http://', 'https://')
_BLOCK = 1 << 20
_ADVICE = 'Without network: download it elsewhere and give the path of the file in place of the URL.'


class DownloadError(CheckpointError):
    """A file cannot be had from the network; ``reason`` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f'{url} cannot be downloaded: {reason}. {_ADVICE}')
        self.url = url
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.reason)


def resolve(name: str) -> str:
    """Return the URL that a name such as ``torchvision://resnet50`` stands for; other names as they are.

    Raises:
        CheckpointError: mmengine's list has no such model.
    """
    scheme, mark, model = name.partition('://')
    if scheme in ('torchvision', 'modelzoo'):
        urls = mmengine_checkpoint.get_torchvision_models()
    elif scheme in ('open-mmlab', 'openmmlab'):
        urls = mmengine_checkpoint.get_external_models()
        model = mmengine_checkpoint.get_deprecated_model_names().get(model, model)
    elif scheme == 'mmcls':
        urls = mmengine_checkpoint.get_mmcls_models()
    else:
        return name
    if model not in urls:
        raise CheckpointError(
            f"{name} is not in mmengine's list of {scheme}{mark} models. Give the path of a file, or the URL of one."
        )
    url = urls[model]
    # A list of one's own may have paths.
    return url if url.startswith(WEB) else os.path.join(mmengine_checkpoint._get_mmengine_home(), url)


def cached_path(url: str) -> Path:
    """Return where torch and mmengine keep the file of a URL once it was downloaded.

    Raises:
        DownloadError: It is the URL of a folder.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(url, 'the URL names no file')
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def check_url(url: str) -> None:
    """Ask the server for a file, without getting it; nothing is asked if it was downloaded before.

    Raises:
        DownloadError: There is no answer, or another one than the file.
    """
    if not cached_path(url).is_file():
        try:
            with _open(url):
                pass
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(url, _reason(error)) from error


def download(url: str) -> Path:
    """Download a file into torch's folder of checkpoints, unless it is there.

    Args:
        url (str): http or https.

    Returns:
        Path: The file.

    Raises:
        DownloadError: There is no answer for ``TIMEOUT`` seconds, another one than the file, or less than all of it.
    """
    path = cached_path(url)
    if path.is_file():
        return path
    try:
        with atomic_path(path) as partial:
            with _open(url) as answer, partial.open('wb') as file:
                print_log(f'Downloading {url} to {path}', logger='current')
                while block := answer.read(_BLOCK):
                    file.write(block)
                expected, got = int(answer.headers.get('Content-Length') or 0), file.tell()
            if got < expected or not got:
                raise DownloadError(url, f'the answer ended after {got:,} of {expected:,} bytes')
    except (
        urllib.error.URLError,
        ConnectionError,
        TimeoutError,
        ssl.SSLError,
        http.client.HTTPException,
        ValueError,
    ) as error:
        raise DownloadError(url, _reason(error)) from error
    return path


def download_once(url: str) -> Path:
    """Download a file in the first process of each machine, while the others of a distributed run wait.

    Raises:
        DownloadError: In every process, if it failed in one.
    """
    if get_dist_info()[1] == 1:
        return download(url)
    error = None
    if os.environ.get('LOCAL_RANK', '0') == '0':
        try:
            download(url)
        except DownloadError as failed:
            error = failed
    failures = [each for each in all_gather_object(error) if each is not None]
    if failures:
        raise failures[0]
    return download(url)  # at once, from the folder


def _open(url: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={'User-Agent': 'mmrest'})
    answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    if answer.headers.get_content_type() == 'text/html':
        answer.close()
        raise ValueError('the server answers with a web page, which may want a login')
    return answer


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f'the server answers {error.code} {error.reason}'
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f'no answer for {TIMEOUT} seconds'
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).rstrip('.') or type(cause).__name__
