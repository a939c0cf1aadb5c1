"""Download of checkpoints: atomic, with timeouts."""

from __future__ import annotations

import difflib
import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.fileio.backends import prefix_to_backends
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..utils.fileio import atomic_path
from .errors import CheckpointError, DownloadError
from .hub import HUB, download_from_hub, parse_hub_name

TIMEOUT = 20  # seconds, of the connection and of each read
WEB = ('http://', 'https://')
REMOTE = (*WEB, HUB)
_CHUNK_SIZE = 1 << 20  # bytes


def resolve(name: str) -> str:
    """Resolve a model name such as ``torchvision://resnet50`` to its URL; paths and URLs are returned unchanged.

    Raises:
        CheckpointError: mmengine has no model of this name, the scheme of a URL is unknown, or a URL of the Hugging
            Face Hub names no file.
    """
    if name.startswith(HUB):
        parse_hub_name(name)
        return name
    scheme, mark, model = name.partition('://')
    if scheme in ('torchvision', 'modelzoo'):
        urls = mmengine_checkpoint.get_torchvision_models()
    elif scheme in ('open-mmlab', 'openmmlab'):
        urls = mmengine_checkpoint.get_external_models()
        model = mmengine_checkpoint.get_deprecated_model_names().get(model, model)
    elif scheme == 'mmcls':
        urls = mmengine_checkpoint.get_mmcls_models()
    else:
        if mark:
            _check_scheme(name, scheme)
        return name
    if model not in urls:
        raise CheckpointError(
            f"{name} is not in mmengine's list of {scheme}{mark} models. Give the path or URL of a file."
        )
    url = urls[model]
    # Users can add local paths to mmengine's lists.
    return url if url.startswith(WEB) else os.path.join(mmengine_checkpoint._get_mmengine_home(), url)


def _check_scheme(path: str, scheme: str) -> None:
    """Raise a CheckpointError if neither mmengine's checkpoint loaders nor its file backends know a scheme."""
    loaders = [prefix for prefix in CheckpointLoader._schemes if prefix]  # regular expressions
    if any(re.match(prefix, path) for prefix in loaders) or scheme.rsplit(':', 1)[-1] in prefix_to_backends:
        return
    known = sorted(
        {re.sub(r'^\(.*\)\?|://$', '', prefix) for prefix in loaders} | set(filter(None, prefix_to_backends))
    )
    close = difflib.get_close_matches(scheme, known, n=1)
    hint = f'Did you mean {close[0]}://?' if close else f'Known schemes are {", ".join(known)}.'
    raise CheckpointError(f'{path} has the unknown scheme {scheme}://. {hint} Give a local file by its path.')


def cached_path(url: str) -> Path:
    """Return the path under which torch and mmengine cache the file of a URL.

    Raises:
        DownloadError: The URL has no file name.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(url, 'the URL has no file name')
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def check_url(url: str) -> None:
    """Check that a server offers a file, without downloading it; cached files pass without a request.

    Raises:
        DownloadError: The server does not answer or does not have the file.
    """
    if not cached_path(url).is_file():
        try:
            with _open(url):
                pass
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(url, _reason(error)) from error


def download(url: str) -> Path:
    """Download a file into torch's checkpoint cache, unless it is cached already.

    Args:
        url (str): URL (http or https).

    Returns:
        Path: The cached file.

    Raises:
        DownloadError: The server does not answer for ``TIMEOUT`` seconds, does not have the file, or the download is
            incomplete.
    """
    path = cached_path(url)
    if path.is_file():
        return path
    try:
        with atomic_path(path) as partial:
            with _open(url) as response, partial.open('wb') as file:
                print_log(f'Downloading {url} to {path}', logger='current')
                while chunk := response.read(_CHUNK_SIZE):
                    file.write(chunk)
                expected, received = int(response.headers.get('Content-Length') or 0), file.tell()
            if received < expected or not received:
                raise DownloadError(url, f'the download ended after {received:,} of {expected:,} bytes')
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


def fetch(name: str) -> Path:
    """Return the local file of a checkpoint, after downloading it if need be.

    Args:
        name (str): Path, URL (http, https or ``hf://``), or a model name of mmengine.

    Raises:
        CheckpointError: The name is unknown, or the file cannot be downloaded. A path is not checked.
    """
    source = resolve(name)
    if source.startswith(HUB):
        return download_from_hub(source)
    return download(source) if source.startswith(WEB) else Path(source).expanduser()


def fetch_once(url: str) -> Path:
    """Download a file in the first process of each machine; the other processes of a distributed run wait.

    Args:
        url (str): URL, one of :data:`REMOTE`.

    Raises:
        CheckpointError: The download failed on a machine; raised in every process.
    """
    if get_dist_info()[1] == 1:
        return fetch(url)
    error = None
    if os.environ.get('LOCAL_RANK', '0') == '0':
        try:
            fetch(url)
        except CheckpointError as download_error:
            error = download_error
    errors = [each for each in all_gather_object(error) if each is not None]
    if errors:
        raise errors[0]
    return fetch(url)  # cached by now


def _open(url: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={'User-Agent': 'mmrest'})
    response = urllib.request.urlopen(request, timeout=TIMEOUT)
    if response.headers.get_content_type() == 'text/html':
        response.close()
        raise ValueError('the server answers with a web page, perhaps a login form')
    return response


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f'the server answers {error.code} {error.reason}'
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f'no answer for {TIMEOUT} seconds'
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause).rstrip('.') or type(cause).__name__
