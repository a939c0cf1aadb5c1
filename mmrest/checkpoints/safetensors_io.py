"""Files in the format safetensors: tensors, and metadata as text. They hold nothing that could run.

A file is the length of its header, the header in JSON, and the values of the tensors. Metadata are a dict of strings;
here, each value that is not a string is written as JSON, and each string that is JSON is read as its value.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Mapping

import torch
from torch import Tensor

from .errors import CheckpointError

SUFFIX = '.safetensors'
HASH = 'tensors_sha256'  # key of the metadata
_VERSIONS = 'module_versions'
_MAX_HEADER = 100_000_000  # bytes, of the library


def is_safetensors(head: bytes) -> bool:
    """Return True for the first bytes of a safetensors file; no pickle, zip or tar archive begins like this."""
    return int.from_bytes(head[:8], 'little') <= _MAX_HEADER and head[8:9] == b'{'


def read_safetensors(path: Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a safetensors file.

    Args:
        path (Path): Local file.
        map_location: As in :func:`torch.load`.

    Returns:
        dict: ``state_dict``, and ``meta`` with the metadata. The versions of modules in files of
        :func:`write_safetensors` are where PyTorch has them, in the attribute ``_metadata`` of the state dict.

    Raises:
        CheckpointError: The file is damaged, or the package safetensors is not installed.
    """
    library = import_safetensors(path)
    device = _find_device(map_location)
    try:
        with library.safe_open(str(path), framework='pt') as file:
            meta = {key: _decode(text) for key, text in (file.metadata() or {}).items()}
            # Copies: the library maps the file into memory, where a change to the file would change the tensors.
            state_dict = OrderedDict((key, file.get_tensor(key).to(device, copy=True)) for key in file.keys())
    except OSError:
        raise
    except Exception as error:  # an error of the library, or of torch for a data type that it lacks
        raise CheckpointError(f'{path} is damaged or cut off ({error}). Get it again.') from error
    expected = meta.get(HASH)
    if device.type != 'meta' and isinstance(expected, str) and hash_tensors(state_dict) != expected:
        raise CheckpointError(f'{path} is damaged: its tensors do not have the sha256 in its metadata. Get it again.')
    versions = meta.pop(_VERSIONS, None)
    if isinstance(versions, dict):
        metadata = OrderedDict((name, dict(version=version)) for name, version in versions.items())
        state_dict._metadata = metadata  # type: ignore[attr-defined]
    return dict(meta=meta, state_dict=state_dict)


def write_safetensors(checkpoint: Mapping[str, Any], file: BinaryIO) -> None:
    """Write ``state_dict`` and ``meta`` of a checkpoint as safetensors. Equal contents give equal bytes.

    Tensors that share memory are written once for each name. The file also has the hash of
    :func:`hash_tensors`, which :func:`read_safetensors` checks.

    Args:
        checkpoint (Mapping): ``state_dict`` and ``meta``, whose values can be written as JSON.
        file (BinaryIO): File to write to.

    Raises:
        CheckpointError: The format has no place for a value, or the package safetensors is not installed.
    """
    library = import_safetensors('A file that ends in .safetensors', 'write a .pth file')
    state_dict, meta = checkpoint['state_dict'], dict(checkpoint['meta'])
    odd = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if odd:
        raise CheckpointError(f'safetensors holds tensors only, and {", ".join(odd[:4])} is none. Write a .pth file.')
    named = getattr(state_dict, '_metadata', None) or {}
    versions = {name: each['version'] for name, each in named.items() if each.get('version', 1) != 1}
    if versions:
        meta[_VERSIONS] = versions
    try:
        tensors = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state_dict.items()
        }
        meta.update({HASH: hash_tensors(tensors), 'format': 'pt'})
        content = library.torch.save(tensors, {key: _encode(value) for key, value in sorted(meta.items())})
    except Exception as error:  # sparse and quantized tensors, data types that the format lacks
        reason = f'{type(error).__name__}: {error}'.strip().splitlines()[0]
        raise CheckpointError(f'The tensors cannot be written as safetensors ({reason}). Write a .pth file.') from error
    size = int.from_bytes(content[:8], 'little')
    header = json.loads(content[8 : 8 + size])
    # The library writes the metadata in random order.
    header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)  # values are aligned to 8 bytes
    file.write(len(text).to_bytes(8, 'little') + text)
    file.write(memoryview(content)[8 + size :])


def hash_tensors(state_dict: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of tensors that does not depend on the format of a file.

    It is that of, for each tensor in the order of the names, the JSON list of name, data type and shape (without
    blanks), a line feed, and the values in row-major order, little-endian.

    Args:
        state_dict (Mapping[str, Tensor]): Dense tensors by name.

    Returns:
        str: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for key, value in sorted(state_dict.items()):
        described = [key, str(value.dtype).removeprefix('torch.'), list(value.shape)]
        digest.update(json.dumps(described, separators=(',', ':')).encode() + b'\n')
        values = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(values)  # type: ignore[arg-type]  # NumPy's types do not say that arrays are buffers
    return digest.hexdigest()


def import_safetensors(name: object, otherwise: str = '') -> ModuleType:
    """Import the package safetensors.

    Args:
        name: File that needs it, for the message.
        otherwise (str): Another way than installing the package, for the message.

    Raises:
        CheckpointError: It is not installed.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise CheckpointError(
            f'{name} needs the package safetensors, which is not installed: pip install safetensors'
            + (f', or {otherwise}' if otherwise else '')
        ) from error
    return safetensors


def _find_device(map_location: Any) -> torch.device:
    """Return the device of tensors that were saved on a CPU."""
    if isinstance(map_location, dict):
        map_location = map_location.get('cpu')
    if callable(map_location) and not isinstance(map_location, torch.device):
        storage = map_location(torch.UntypedStorage(0), 'cpu')
        map_location = getattr(storage, 'device', None)
    return torch.device('cpu' if map_location is None else map_location)


def _encode(value: Any) -> str:
    if isinstance(value, str) and _decode(value) is value:
        return value
    return json.dumps(value)


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
