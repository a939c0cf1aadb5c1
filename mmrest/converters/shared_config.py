"""Text of a config to share: without what tells about the machine and the account of a run."""

from __future__ import annotations

import getpass
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mmengine.config import Config

from ..engine.saved_config import read_saved_config

# Settings of one run on one machine.
RUN_SETTINGS = ('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name', 'local_rank')
# Settings at any depth with accounts of logging services and storages, keys among them, or with folders for results.
ACCOUNT_SETTINGS = ('init_kwargs', 'backend_args', 'file_client_args', 'save_dir', 'out_dir', 'output_dir')
# Names of files that everybody finds under the same name.
PUBLIC_SCHEMES = ('hf', 'torchvision', 'modelzoo', 'open-mmlab', 'openmmlab', 'mmcls', 'env')
_HOME = re.compile(r'(~[^/]*|/root|(?:[A-Za-z]:)?/(?:home|Users)/[^/]+)(?=/|$)')
_HOME_IN_TEXT = re.compile(r'(?:/home|/Users|\\Users)[/\\]+[\w.-]+')
# Names of accounts and machines that tell nothing and may stand in a config for another reason.
_COMMON_NAMES = ('root', 'user', 'ubuntu', 'admin', 'localhost', 'default', 'test', 'docker')


@dataclass
class SharedConfig:
    """Config text to share.

    Attributes:
        text (str): Config in Python.
        values (dict): Its top-level variables.
        removed (list[str]): Dotted names of settings that were left out.
        shortened (list[str]): Dotted names of paths and URLs that were shortened.
    """

    text: str = ''
    values: dict[str, Any] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    shortened: list[str] = field(default_factory=list)


def share_config(config: Config | str) -> SharedConfig:
    """Return a config without what tells about a machine or an account.

    Settings of the run, accounts and credentials are removed. Of a path outside the current folder the last part
    is kept, of a URL the part without credentials and query.

    Args:
        config (Config | str): Config, or its text in a checkpoint, of which no code is run: variables that are not
            made of dicts, lists, numbers and strings are removed.
    """
    shared = SharedConfig()
    if isinstance(config, Config):
        values = config.to_dict()
    else:
        values = read_saved_config(dict(cfg=config))
        shared.removed += [name for name in re.findall(r'^(\w+) *=', config, re.MULTILINE) if name not in values]
    shared.values = {
        name: _share(value, name, shared)
        for name, value in values.items()
        if not _is_removed(name, value, name, shared, RUN_SETTINGS)
    }
    if shared.values:
        shared.text = Config(shared.values).pretty_text
    return shared


def _is_removed(key: Any, value: Any, path: str, shared: SharedConfig, names: tuple[str, ...] = ()) -> bool:
    removed = key in (*names, *ACCOUNT_SETTINGS) and value not in (None, False, '', {}, 'none')  # the defaults
    if removed:
        shared.removed.append(path)
    return removed


def _share(value: Any, path: str, shared: SharedConfig) -> Any:
    if isinstance(value, dict):
        return {
            key: _share(item, f'{path}.{key}', shared)
            for key, item in value.items()
            if not _is_removed(key, item, f'{path}.{key}', shared)
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_share(item, f'{path}.{i}', shared) for i, item in enumerate(value))
    if isinstance(value, str) and (short := shorten_path(value)) != value:
        shared.shortened.append(path)
        return short
    return value


def shorten_path(text: str) -> str:
    """Return a path or URL without what belongs to a machine or an account; any other text is returned unchanged.

    Args:
        text (str): E.g. '/home/jane/coco/', which becomes 'coco/', or 'https://jane:key@host/x.pth?key=1', which
            becomes 'https://host/x.pth'.
    """
    scheme = re.match(r'([A-Za-z][\w+.-]+)://', text)
    if scheme and scheme[1] in ('http', 'https'):
        parts = urlsplit(text)
        return urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], parts.path, '', ''))
    if scheme and scheme[1] in PUBLIC_SCHEMES:
        return text
    if scheme:  # without the host or bucket
        path = '/' + text[scheme.end() :].partition('/')[2]
    elif re.match(r'[A-Za-z]:[\\/]|\\\\', text):
        path = text.replace('\\', '/')
    elif text.startswith(('/', '~', '../')):
        path = text
    else:
        return text
    rest = _HOME.sub('', path, count=1)
    name = rest.rstrip('/').rpartition('/')[2]
    return name + '/' * rest.endswith('/') if name not in ('', '..') else ''


def find_traces(text: str) -> list[str]:
    """Return names in a text that tell about this machine or an account: home folders, account and host name.

    Args:
        text (str): Text to be shared.
    """
    names = [socket.gethostname().partition('.')[0], str(Path.home())]
    with suppress(KeyError, OSError, ImportError):  # an account without a name, as in some containers
        names.append(getpass.getuser())
    found = _HOME_IN_TEXT.findall(text)
    for name in names:
        known = len(name) < 3 or name.strip('/').lower() in _COMMON_NAMES
        if not known and re.search(rf'(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])', text):
            found.append(name)
    return list(dict.fromkeys(found))
