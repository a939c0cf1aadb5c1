"""Backbones of mmdet and mmpretrain to compare with."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from ..engine.errors import UsageError

# Backbones of mmdet and mmpretrain as in the detectors published there, and the channels of their four stages.
PEER_BACKBONES = {
    'resnet-50': (dict(type='mmdet.ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3)), (256, 512, 1024, 2048)),
    'swin-t': (
        dict(
            type='mmdet.SwinTransformer',
            embed_dims=96,
            depths=[2, 2, 6, 2],
            num_heads=[3, 6, 12, 24],
            window_size=7,
            drop_path_rate=0.2,
            out_indices=(0, 1, 2, 3),
        ),
        (96, 192, 384, 768),
    ),
    'pvt-s': (
        dict(type='mmdet.PyramidVisionTransformer', num_layers=[3, 4, 6, 3], out_indices=(0, 1, 2, 3)),
        (64, 128, 320, 512),
    ),
    'pvtv2-b2': (
        dict(type='mmdet.PyramidVisionTransformerV2', embed_dims=64, num_layers=[3, 4, 6, 3], out_indices=(0, 1, 2, 3)),
        (64, 128, 320, 512),
    ),
    'convnext-t': (
        dict(
            type='mmpretrain.ConvNeXt',
            arch='tiny',
            out_indices=(0, 1, 2, 3),
            drop_path_rate=0.4,
            gap_before_final_norm=False,
        ),
        (96, 192, 384, 768),
    ),
}


def import_registry(label: str, *modules: str) -> Any:
    """Return mmdet's registry of models, after the import of mmdet and of others that register models.

    Args:
        label (str): Model that needs them, for messages.
        *modules (str): The others.

    Raises:
        UsageError: One of them cannot be imported.
    """
    for module in ('mmdet.models', *modules):
        try:
            import_module(module)
        except Exception as error:  # of any kind: torchvision for another torch raises a RuntimeError
            raise UsageError(
                f'{label}: this needs {module.partition(".")[0]}, which cannot be imported ({error}). '
                'Run `mmrest doctor`, which says what to install.'
            ) from None
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    return MODELS


def peer_registry(name: str) -> Any:
    """Return the registry that builds a backbone of :data:`PEER_BACKBONES`, as :func:`import_registry` does."""
    return import_registry(name, PEER_BACKBONES[name][0]['type'].partition('.')[0] + '.models')


def build_peer(name: str, **options: Any) -> nn.Module:
    """Build a backbone of :data:`PEER_BACKBONES`.

    Args:
        name (str): Its key.
        **options: Arguments of the backbone, in place of those of the table.

    Raises:
        UsageError: Its library cannot be imported.
    """
    return peer_registry(name).build({**PEER_BACKBONES[name][0], **options})
