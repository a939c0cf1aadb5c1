"""Conversion of the authors' published files: whole detectors, segmentors, classifiers and backbones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

import torch
from torch import Tensor

from ..checkpoints import CheckpointError, fetch, load_file, save_checkpoint, unwrap_state_dict
from ..checkpoints.saving import check_destination, hash_file
from ..version import __version__
from .detectron2 import convert_detector, count_classes, describe_normalization
from .layouts import DESCRIPTIONS, NUM_STAGES, Contents, recognize, summarize

# Target of each layout, unless only the backbone is converted.
TARGETS = {
    'classification': 'classifier',
    'backbone': 'backbone',
    'detectron2-retinanet': 'retinanet',
    'detectron2-mask_rcnn': 'mask_rcnn',
    'mmseg-upernet': 'upernet',
}
# Stages with output norms in the published detectors and segmentors.
OUT_NORMS = {'retinanet': (2, 3, 4), 'mask_rcnn': (1, 2, 3, 4), 'upernet': (1, 2, 3, 4)}
# Convolutions with BatchNorm in the UPerHead and FCNHead of mmseg.
UPERNET_CONVS = tuple(
    ['decode_head.bottleneck', 'decode_head.fpn_bottleneck', 'auxiliary_head.convs.0']
    + [f'decode_head.psp_modules.{i}.1' for i in range(4)]
    + [f'decode_head.{kind}_convs.{i}' for kind in ('lateral', 'fpn') for i in range(3)]
)
UPERNET_LEAVES = ('conv.weight', 'bn.weight', 'bn.bias', 'bn.running_mean', 'bn.running_var')


@dataclass
class Conversion:
    """Converted checkpoint with its provenance.

    Attributes:
        state_dict (OrderedDict[str, Tensor]): Tensors under the names of models of OpenMMLab.
        contents (Contents): Recognized contents of the file.
        target (str): 'backbone', 'retinanet', 'mask_rcnn', 'upernet' or 'classifier'.
        source (str): Path of the file.
        sha256 (str): SHA-256 of the file; empty without a file.
        left_out (list[str]): Unused tensors of the file.
        notes (list[str]): Notes for the user of the checkpoint.
    """

    state_dict: OrderedDict[str, Tensor]
    contents: Contents
    target: str
    source: str
    sha256: str = ''
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata of the checkpoint, as plain strings, numbers and lists."""
        settings = {key: None if value is None else list(value) for key, value in self.contents.settings.items()}
        return dict(
            source=Path(self.source).name,
            source_sha256=self.sha256,
            layout=self.contents.layout,
            arch=self.contents.name,
            settings=settings,
            target=self.target,
            mmrest_version=__version__,
        )

    def __str__(self) -> str:
        numbers = sum(value.numel() for value in self.state_dict.values())
        lines = [
            f'{self.source} is {self.contents}.',
            f'  converted to: {self.target}, {len(self.state_dict)} tensors, {numbers:,} numbers',
        ]
        if self.sha256:
            lines.insert(1, f'  sha256 of the file: {self.sha256}')
        if self.left_out:
            lines.append(f'  not used: {summarize(self.left_out)}')
        return '\n'.join(lines + [f'  {note}' for note in self.notes])


def convert(checkpoint: Any, to: str = 'auto', source: str = 'the checkpoint') -> Conversion:
    """Convert a published checkpoint that has been loaded.

    Args:
        checkpoint: Content of the file, a state dict or a dict with one under ``model``, ``state_dict`` or the like.
        to (str): 'auto' for everything in the file, 'backbone' for the backbone alone, or the required target.
        source (str): Name of the file for messages.

    Returns:
        Conversion: Converted copy, which shares no memory with the checkpoint.

    Raises:
        CheckpointError: The checkpoint is not recognized, or is not of the required target.
    """
    if to not in ('auto', 'backbone', *TARGETS.values()):
        raise ValueError(f'Unknown target {to!r}: choose from auto, {", ".join(sorted(set(TARGETS.values())))}.')
    contents = recognize(unwrap_state_dict(checkpoint, source), source)
    target = to if to == 'backbone' else _whole_target(contents, to, source)
    if contents.norms != OUT_NORMS.get(target, contents.norms):
        raise CheckpointError(
            f'The {target} in {source} is not built as the published ones: it has output norms after '
            f'the stages {contents.norms}, they after {OUT_NORMS[target]}. Its backbone alone can be '
            'had with --to backbone.'
        )
    left_out, notes = [], []
    if target == 'backbone':
        state_dict = OrderedDict(contents.backbone)
        left_out = [*contents.classifier, *contents.rest]
    else:
        state_dict = OrderedDict((f'backbone.{key}', value) for key, value in contents.backbone.items())
    if target == 'classifier':
        state_dict.update(_convert_classifier(contents, source))
        left_out = list(contents.rest)
    elif target in ('retinanet', 'mask_rcnn'):
        heads = convert_detector(target, contents.rest, source)
        state_dict.update(heads)
        left_out = [key for key in contents.rest if 'pixel_' in key or 'anchor_generator.' in key]
        notes.append(f'{count_classes(target, heads)} classes')
        if target == 'retinanet':
            notes.append('P7 of detectron2 is computed from ReLU(P6): the neck needs relu_before_extra_convs=True.')
    elif target == 'upernet':
        state_dict.update(_convert_upernet(contents.rest, source))
        notes.append(f'{state_dict["decode_head.conv_seg.weight"].shape[0]} classes')
    if contents.layout.startswith('detectron2'):
        if contents.version == 'rest':
            notes.append("The output norms feed the next stage, too: the backbone needs out_norm='trunk'.")
        notes.append(describe_normalization(contents.version, contents.rest))
    if contents.arch == 'custom' and contents.settings['num_heads'] is None:
        notes.append('The numbers of heads leave no trace in ResTv2 files: set those that it was trained with.')
    if isinstance(checkpoint, Mapping) and 'model' in checkpoint and 'model_ema' in checkpoint:
        notes.append("The file holds averaged weights (model_ema) as well; converted are those under 'model'.")
    state_dict = OrderedDict(
        (key, value.clone(memory_format=torch.contiguous_format)) for key, value in state_dict.items()
    )
    return Conversion(state_dict, contents, target, source, left_out=left_out, notes=[note for note in notes if note])


def convert_file(source: str | Path, destination: str | Path, to: str = 'auto', overwrite: bool = False) -> Conversion:
    """Convert a published file without running code from it, and write the result atomically.

    The new file holds ``state_dict`` and ``meta``, and can be loaded by mmengine and
    :func:`~mmrest.checkpoints.load_file`.

    Args:
        source (str | Path): File of the authors, or its URL.
        destination (str | Path): File to write: ``.safetensors``, or any other suffix for a file of PyTorch.
        to (str): As in :func:`convert`.
        overwrite (bool): Replace an existing ``destination``.

    Raises:
        CheckpointError: The source cannot be read, is refused or not recognized; or the destination exists, is the
            source, or cannot be written, and stays unchanged.
    """
    name, destination = str(source), Path(destination).expanduser()
    check_destination(name, destination, overwrite)
    path = fetch(name)
    conversion = convert(load_file(path), to, name)
    conversion.sha256 = hash_file(path)
    save_checkpoint({'meta': conversion.meta, 'state_dict': conversion.state_dict}, destination)
    return conversion


def _whole_target(contents: Contents, to: str, source: str) -> str:
    """Return the target of a whole file."""
    if contents.layout not in TARGETS:
        raise CheckpointError(
            f'{source} is not recognized as a whole: beside a {contents.name} under "{contents.prefix}" it holds '
            f'{summarize(contents.rest)}. What can be converted: {", ".join(DESCRIPTIONS[key] for key in TARGETS)}. '
            'With --to backbone, the backbone alone.'
        )
    target = TARGETS[contents.layout]
    if to not in ('auto', target):
        raise CheckpointError(f'{source} is {contents}, so it can be converted to {target} or backbone, not to {to}.')
    return target


def _convert_classifier(contents: Contents, source: str) -> dict[str, Tensor]:
    """Return head and final norm under the names of mmpretrain's ImageClassifier.

    Its backbone emits stage 4 only, so the output norm of that stage is the norm before the pooling. ResT has this norm
    in all layouts, ResTv2 in the classifier.
    """
    norm = (
        {}
        if contents.version == 'rest'
        else {
            f'backbone.norm{NUM_STAGES}.{leaf}': contents.classifier.get(f'norm.{leaf}') for leaf in ('weight', 'bias')
        }
    )
    head = {f'head.fc.{leaf}': contents.classifier.get(f'head.{leaf}') for leaf in ('weight', 'bias')}
    lacking = [key for key, value in {**norm, **head}.items() if value is None]
    if contents.version == 'rest' and NUM_STAGES not in contents.norms:
        lacking.append(f'backbone.norm{NUM_STAGES}')
    if lacking:
        raise CheckpointError(f'The classifier in {source} is not complete: it has nothing for {", ".join(lacking)}.')
    return {**norm, **head}


def _convert_upernet(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Check the heads of mmseg 0.x, which have the same names in mmseg 1.x."""
    expected = [f'{name}.{leaf}' for name in UPERNET_CONVS for leaf in UPERNET_LEAVES]
    expected += [f'{head}.conv_seg.{leaf}' for head in ('decode_head', 'auxiliary_head') for leaf in ('weight', 'bias')]
    missing = [key for key in expected if key not in tensors]
    unknown = [key for key in tensors if key not in expected and not key.endswith('.bn.num_batches_tracked')]
    for verb, keys in (('lacks', missing), ('has besides', unknown)):
        if keys:
            raise CheckpointError(
                f'The UPerNet in {source} is not built as the published ones: it {verb} {len(keys)} '
                f'tensors, e.g. {", ".join(keys[:4])}. Its backbone alone can be had with --to '
                'backbone.'
            )
    return dict(tensors)
