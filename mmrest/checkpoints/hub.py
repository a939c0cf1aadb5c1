"""Checkpoints of the Hugging Face Hub, by names like ``hf://owner/name@revision/file``."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from ..utils.fileio import NO_SPACE
from ..version import __version__
from .errors import CheckpointError, DownloadError

HUB = 'hf://'
SYNTAX = 'hf://owner/name/file or hf://owner/name@revision/file'
# As huggingface_hub reads such names. Revisions of pull requests contain slashes.
_NAME = re.compile(r'(?:models/)?([\w.-]+/[\w.-]+)(?:@(refs/(?:pr/\d+|convert/[\w.-]+)|[^/@]+))?/([^/].*)')
_OTHER_KINDS = ('datasets', 'spaces', 'kernels', 'buckets')


def parse_hub_name(name: str) -> tuple[str, str | None, str]:
    """Split the name of a file on the hub.

    Args:
        name (str): ``hf://owner/name[@revision]/path/of/the/file``; the revision is a branch, a tag or a commit.

    Returns:
        tuple[str, str | None, str]: Repository, revision or None, and path of the file in the repository.

    Raises:
        CheckpointError: The name has another form, or is not of a repository of models.
    """
    rest = name[len(HUB) :]
    kind = rest.partition('/')[0]
    if kind in _OTHER_KINDS:
        raise CheckpointError(f'{name} is not a file of a model repository, but of {kind}. Expected {SYNTAX}.')
    match = _NAME.fullmatch(rest)
    if match is None:
        raise CheckpointError(f'{name} does not name a file on the Hugging Face Hub. Expected {SYNTAX}.')
    repo, revision, path = match.groups()
    return repo, None if revision is None else unquote(revision), path


@lru_cache(maxsize=None)
def download_from_hub(name: str) -> Path:
    """Download a file of the hub into the cache of huggingface_hub, unless it is there already.

    Without network access, or with HF_HUB_OFFLINE=1, a cached file is used. A process asks the hub once for a name, so
    that the file that is checked before a run is the one that it reads.

    Args:
        name (str): As in :func:`parse_hub_name`.

    Returns:
        Path: The cached file.

    Raises:
        DownloadError: The file is not in the cache and cannot be downloaded.
        CheckpointError: The name has another form, or huggingface_hub is not installed.
    """
    repo, revision, file = parse_hub_name(name)
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise CheckpointError(
            f'{name} needs the package huggingface_hub, which is not installed: pip install huggingface_hub'
        ) from error
    try:
        path = hf_hub_download(repo, file, revision=revision, library_name='mmrest', library_version=__version__)
    except Exception as error:  # those of its HTTP library differ between its versions
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise DownloadError(name, _reason(error, repo, revision, file)) from error
    return Path(path)


def _reason(error: Exception, repo: str, revision: str | None, file: str) -> str:
    from huggingface_hub import constants, errors

    cache = f'it is not in the cache {constants.HF_HUB_CACHE}'
    if isinstance(error, errors.LocalEntryNotFoundError):
        fault = f'the hub cannot be reached ({_first_line(error.__cause__ or error)})'
        return f'{"HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else fault}, and {cache}'
    if isinstance(error, errors.GatedRepoError):
        return f'access to {repo} is restricted: ask for it on the page of the repository, then run "hf auth login"'
    if isinstance(error, errors.RepositoryNotFoundError):
        return f'there is no repository {repo}, or it is private and needs "hf auth login"'
    if isinstance(error, errors.RevisionNotFoundError):
        return f'{repo} has no revision {revision}'
    if isinstance(error, errors.EntryNotFoundError):
        hint = f' (a revision goes after the name of the repository: {SYNTAX})' if '@' in file else ''
        return f'{repo} has no file {file}{hint}'
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [''])[0].rstrip('.') or type(error).__name__
