"""Files of exported models, by ``torch.export``."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import torch

from ..engine import UsageError
from ..utils.fileio import atomic_path
from ..version import __version__
from .targets import Target
from .verify import SHAPES, Difference, check_differences, compare

# Batch and size at which graphs are recorded; odd, so that no size is divisible by chance.
EXAMPLE = (2, (151, 213))
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
DIMS = {0: 'batch', 2: 'height', 3: 'width'}


def export(
    target: Target,
    out: str | Path,
    static_shape: tuple[int, int] | None = None,
    opset: int | None = None,
    verify: bool = True,
) -> dict[str, Difference]:
    """Export a model to a file, which appears when it is complete and has passed the comparison with the model.

    Args:
        target (Target): From :func:`~mmrest.export.backbone_target` or :func:`~mmrest.export.config_target`.
        out (str | Path): File to write, ``.onnx``, or ``.pt2`` for a program of ``torch.export``.
        static_shape (tuple[int, int], optional): Fixed height and width in pixels. Default: dynamic ones. The batch is
            always dynamic.
        opset (int, optional): Version of the operator set of ONNX; default: that of torch.
        verify (bool): Compare the file with the model before it appears.

    Returns:
        dict[str, Difference]: Result of :func:`~mmrest.export.compare`; empty without ``verify``.

    Raises:
        UsageError: A package is missing, the model cannot be exported, or the file differs from the model.
    """
    out = Path(out)
    if out.suffix not in ('.onnx', '.pt2'):
        raise UsageError(f'The file to write must end in .onnx or .pt2, got {out}.')
    check_packages(PACKAGES[: 3 if verify else 2] if out.suffix == '.onnx' else ())
    if target.has_windows and static_shape is None:
        raise UsageError(
            f"{target.name} has windows (style 'win', 'cwin' or 'hwin'), whose number and shapes depend on the size of "
            "the image: a graph holds them at one size only. Give --shape H W, or use style='global'."
        )
    if static_shape is not None and min(static_shape) < 1:
        raise UsageError(f'--shape takes two positive numbers, got {static_shape}.')
    _check_opset(opset, out)
    program = record(target, static_shape)
    differences = {}
    with atomic_path(out) as partial:
        if out.suffix == '.pt2':
            torch.export.save(program, partial, extra_files={'metadata.json': json.dumps(make_metadata(target))})
        else:
            _write_onnx(target, program, partial, opset)
        if verify:
            differences = compare(target, partial, SHAPES if static_shape is None else [tuple(static_shape)])
            check_differences(differences)
    return differences


def _check_opset(opset: int | None, out: Path) -> None:
    if opset is None:
        return
    if out.suffix != '.onnx':
        raise UsageError('--opset is for .onnx files.')
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not 18 <= opset <= newest:  # 18 is the oldest that torch writes
        raise UsageError(f'--opset {opset}: choose from 18 to {newest}.')


def record(target: Target, static_shape: tuple[int, int] | None = None) -> torch.export.ExportedProgram:
    """Record a model with ``torch.export``, with a dynamic batch and, without ``static_shape``, a dynamic size.

    Raises:
        UsageError: torch is older than 2.7, or cannot record this model.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise UsageError(f'Export needs torch 2.7 or later; this is {torch.__version__}.')
    batch, shape = EXAMPLE
    images = torch.rand(batch, target.in_channels, *(static_shape or shape))
    dynamic = {dim: torch.export.Dim.DYNAMIC for dim in DIMS if dim == 0 or static_shape is None}
    try:
        with torch.no_grad():
            return torch.export.export(target.exportable(), (images,), dynamic_shapes=(dynamic,), strict=False)
    except Exception as error:  # of many types
        raise UsageError(
            f'torch.export cannot record {target.name}: {type(error).__name__}: {str(error).strip()[:600]}'
        ) from error


def make_metadata(target: Target) -> dict[str, str]:
    """Return the metadata of a file, from names to strings; structured values are JSON."""
    return {
        'producer': f'mmrest {__version__}',
        'model': target.name,
        'task': target.task,
        'input': f'images: float32 (batch, {target.in_channels}, height, width), normalized: (pixel - mean) / std',
        'outputs': json.dumps(target.outputs),
        **target.metadata,
    }


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata of an exported ``.onnx`` file, with JSON decoded."""
    import onnx

    found = {prop.key: prop.value for prop in onnx.load(str(path), load_external_data=False).metadata_props}
    return {key: json.loads(value) if value[:1] in ('[', '{') else value for key, value in found.items()}


def _write_onnx(target: Target, program: torch.export.ExportedProgram, path: Path, opset: int | None) -> None:
    import onnx

    # The exporter of torch.export's programs keeps sizes as symbols; the older one, which traces a run, fixes them.
    with warnings.catch_warnings(), _quiet('torch.onnx'):  # torch.onnx warns of packages that are not needed
        warnings.simplefilter('ignore', FutureWarning)
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=['images'],
            opset_version=opset,
            verbose=False,
            output_names=list(target.outputs),
        )
    model = converted.model_proto
    written = next(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))
    if opset not in (None, written):
        raise UsageError(f'--opset {opset}: torch could write the graph in version {written} only.')
    foreign = {node.domain for node in model.graph.node} - {'', 'ai.onnx'}
    if foreign or model.functions:
        raise UsageError(
            f'The graph of {target.name} holds operators that are not of ONNX, of '
            f'{", ".join(sorted(foreign)) or "functions"}.'
        )
    _name_dims(model.graph)
    onnx.helper.set_model_props(model, make_metadata(target))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger and its children, except for errors."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _name_dims(graph: Any) -> None:
    """Replace the symbols of torch by 'batch', 'height' and 'width', also inside formulas of dynamic sizes."""
    dims = graph.input[0].type.tensor_type.shape.dim
    names = {dims[i].dim_param: name for i, name in DIMS.items() if dims[i].dim_param}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r'\w+', lambda match: names.get(match[0], match[0]), dim.dim_param)


def check_packages(names: tuple[str, ...]) -> None:
    """Check that packages are installed.

    Raises:
        UsageError: A package is not installed.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f'Export needs {" and ".join(missing)}, not installed here. Install all packages of the export with: '
            f'pip install {" ".join(PACKAGES)}   (or pip install -e ".[export]" in the folder of mmrest)'
        )
