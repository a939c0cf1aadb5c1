"""Backbones to check and measure, the precisions they run in, and which implementations of the attention there are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from torch import nn

from mmrest.benchmark.baselines import BASELINES, Baseline
from mmrest.benchmark.models import OWN_BACKBONES, PEER_BACKBONES
from mmrest.ops import IMPLS

from .cases import Skip

# Stands for an architecture in a dry run.
TINY = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
BACKBONES = ('rest-small', 'restv2-tiny')
# The formula of the paper is what the others are compared with, and the direct form is for small maps.
CHECKED_IMPLS = tuple(impl for impl in IMPLS if impl != 'reference')
MEASURED_IMPLS = tuple(impl for impl in IMPLS if impl not in ('reference', 'direct'))
# Names to dtype and TF32.
PRECISIONS = {
    'bf16': (torch.bfloat16, False),
    'fp32': (torch.float32, False),
    'fp16': (torch.float16, False),
    'tf32': (torch.float32, True),
}


@contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = enabled
        yield
    finally:
        for backend, value in zip(backends, before):
            backend.allow_tf32 = value


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    """Return autocast to a dtype, off for float32."""
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32)


def build_own(name: str, dry: bool, form: str = 'auto', **options: object) -> nn.Module:
    """Build a backbone of this package.

    Args:
        name (str): One of :data:`BACKBONES`, or another key of ``mmrest.benchmark.models.OWN_BACKBONES``.
        dry (bool): A tiny one in its place.
        form (str): Implementation of the attention, 'released' or 'matmul'.
        **options: Of the backbone.
    """
    torch.manual_seed(0)
    cls, arch = OWN_BACKBONES[name]
    impl = None if form in BASELINES else form
    model = cls(TINY if dry else arch, attn_impl=impl, **options)
    return Baseline(model, form) if form in BASELINES else model


def build_peer(name: str) -> nn.Module:
    """Build a backbone of mmdet, mmpretrain or torchvision.

    Raises:
        Skip: Its library is not installed.
    """
    torch.manual_seed(0)
    cfg = PEER_BACKBONES[name][0]
    try:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=True)
        if cfg['type'].startswith('mmpretrain.'):
            import mmpretrain.models  # noqa: F401  (registers its backbones)
        return MODELS.build(dict(cfg))
    except ImportError as error:
        if name != 'convnext-t':
            raise Skip(f'{name} needs mmdet ({error})') from error
        return _torchvision_convnext()


def _torchvision_convnext() -> nn.Module:
    """Return ConvNeXt-T without its head."""
    try:
        from torchvision.models import convnext_tiny
    except ImportError as error:
        raise Skip(f'convnext-t needs mmpretrain or torchvision ({error})') from error
    return convnext_tiny().features
