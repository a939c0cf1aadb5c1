"""Files as the authors published them, made of weights that any machine can rebuild.

Names and shapes are those of the published models; ``rest.json`` and the external reference values hold lists of
them to compare with. Nothing here is used by the package.
"""

from __future__ import annotations

import argparse
import zlib

import numpy as np
import torch

NORMS = {
    ('rest', 'classification'): {4: 'norm'},
    ('rest', 'detectron2'): {1: 'norm1', 2: 'norm2', 3: 'norm3', 4: 'norm'},
    ('restv2', 'classification'): {},
    ('restv2', 'detectron2'): {i: f'norm_{i}.0' for i in (1, 2, 3, 4)},
    ('restv2', 'mmseg'): {i: f'norm_{i}' for i in (1, 2, 3, 4)},
}


def weight(seed: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float64 array for one entry of a state dict, by the rule of the external reference values."""
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape, dtype=np.int64)
    z = np.random.RandomState(zlib.crc32(f'{seed}:{key}'.encode())).standard_normal(tuple(shape))
    if leaf == 'running_var':
        return 0.5 + np.abs(z)
    if leaf in ('running_mean', 'bias'):
        return 0.1 * z
    if len(shape) == 1:
        return 1.0 + 0.1 * z
    gain = 1.5 if key.endswith(('attn.q.weight', 'attn.kv.weight')) else 1.0
    return gain * z / np.sqrt(np.prod(shape[1:]))


def fill(
    shapes: dict[str, tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float64, device: str = 'cpu'
) -> dict[str, torch.Tensor]:
    """Return a state dict; on the meta device, one without values."""
    if device == 'meta':
        return {key: torch.empty(shape, dtype=dtype, device='meta') for key, shape in shapes.items()}
    state_dict = {key: torch.from_numpy(np.asarray(weight(seed, key, shape))) for key, shape in shapes.items()}
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state_dict.items()}


def backbone_shapes(
    version: str, arch: dict, layout: str = 'detectron2', stages: tuple[int, ...] = (1, 2, 3, 4), prefix: str = ''
) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a backbone's weights, with output norms of ``stages`` as the layout names them."""
    shapes = {}

    def layer(name, *shape, bias=True):
        shapes[f'{prefix}{name}.weight'] = shape
        if bias:
            shapes[f'{prefix}{name}.bias'] = shape[:1]

    def batch_norm(name, n):
        layer(name, n)
        shapes.update(
            {
                f'{prefix}{name}.running_mean': (n,),
                f'{prefix}{name}.running_var': (n,),
                f'{prefix}{name}.num_batches_tracked': (),
            }
        )

    dims = arch['embed_dims']
    half = dims[0] // 2
    v1 = version == 'rest'
    if v1:
        for i, (n_out, n_in) in enumerate(((half, 3), (half, half), (dims[0], half)), start=1):
            layer(f'stem.conv{i}', n_out, n_in, 3, 3, bias=False)
            if i < 3:
                batch_norm(f'stem.norm{i}', n_out)
    else:
        for i, (n_out, n_in) in enumerate(((half, 3), (dims[0], half))):
            layer(f'stem.proj.{3 * i}', n_out, n_in, 3, 3, bias=False)
            batch_norm(f'stem.proj.{3 * i + 1}', n_out)
        layer('stem.proj.6', dims[0], dims[0], 1, 1)
    for i, c in enumerate(dims):
        embed = 'stem' if i == 0 else f'patch_embed_{i + 1}' if v1 else f'patch_{i + 1}'
        if i:
            layer(f'{embed}.{"conv" if v1 else "proj"}', c, dims[i - 1], 3, 3)
            if v1:
                batch_norm(f'{embed}.norm', c)
        layer(f'{embed}.pos.pa_conv', c, 1, 3, 3)
        if not v1:
            layer(f'{embed}.norm', c)
    for i, (c, depth, heads, sr) in enumerate(zip(dims, arch['depths'], arch['num_heads'], arch['sr_ratios'])):
        for j in range(depth):
            block = f'stage{i + 1}.{j}'
            for name, shape in (
                ('norm1', (c,)),
                ('norm2', (c,)),
                ('attn.q', (c, c)),
                ('attn.kv', (2 * c, c)),
                ('attn.proj', (c, c)),
                ('mlp.fc1', (4 * c, c)),
                ('mlp.fc2', (c, 4 * c)),
            ):
                layer(f'{block}.{name}', *shape)
            if sr > 1:
                layer(f'{block}.attn.sr', c, 1, sr + 1, sr + 1)
                layer(f'{block}.attn.sr_norm', c)
            if v1 and heads > 1:
                layer(f'{block}.attn.transform_conv', heads, heads, 1, 1)
            if not v1:
                layer(f'{block}.attn.up.0', sr * sr * c, 1, 3, 3)
                layer(f'{block}.attn.up_norm', c)
    for stage, name in NORMS[version, layout].items():
        if stage in stages:
            layer(name, dims[stage - 1])
    return shapes


def classifier_shapes(version: str, arch: dict, num_classes: int = 1000) -> dict[str, tuple[int, ...]]:
    shapes = backbone_shapes(version, arch, 'classification')
    dim = arch['embed_dims'][-1]
    shapes.update(
        {'norm.weight': (dim,), 'norm.bias': (dim,), 'head.weight': (num_classes, dim), 'head.bias': (num_classes,)}
    )
    return shapes


def _layers(layers: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        f'{name}.{leaf}': shape if leaf == 'weight' else shape[:1]
        for name, shape in layers.items()
        for leaf in ('weight', 'bias')
    }


def retinanet_shapes(version: str, arch: dict, num_classes: int = 80, channels: int = 256) -> dict:
    dims, c = arch['embed_dims'], channels
    layers = {}
    for level in (3, 4, 5):
        layers[f'backbone.fpn_lateral{level}'] = (c, dims[level - 2], 1, 1)
        layers[f'backbone.fpn_output{level}'] = (c, c, 3, 3)
    layers['backbone.top_block.p6'] = (c, dims[3], 3, 3)
    layers['backbone.top_block.p7'] = (c, c, 3, 3)
    for i in (0, 2, 4, 6):
        layers[f'head.cls_subnet.{i}'] = layers[f'head.bbox_subnet.{i}'] = (c, c, 3, 3)
    layers['head.cls_score'] = (9 * num_classes, c, 3, 3)
    layers['head.bbox_pred'] = (9 * 4, c, 3, 3)
    return {**backbone_shapes(version, arch, stages=(2, 3, 4), prefix='backbone.bottom_up.'), **_layers(layers)}


def mask_rcnn_shapes(version: str, arch: dict, num_classes: int = 80, channels: int = 256, hidden: int = 1024) -> dict:
    dims, c = arch['embed_dims'], channels
    layers = {}
    for level in (2, 3, 4, 5):
        layers[f'backbone.fpn_lateral{level}'] = (c, dims[level - 2], 1, 1)
        layers[f'backbone.fpn_output{level}'] = (c, c, 3, 3)
    layers['proposal_generator.rpn_head.conv'] = (c, c, 3, 3)
    layers['proposal_generator.rpn_head.objectness_logits'] = (3, c, 1, 1)
    layers['proposal_generator.rpn_head.anchor_deltas'] = (12, c, 1, 1)
    layers['roi_heads.box_head.fc1'] = (hidden, c * 49)
    layers['roi_heads.box_head.fc2'] = (hidden, hidden)
    layers['roi_heads.box_predictor.cls_score'] = (num_classes + 1, hidden)
    layers['roi_heads.box_predictor.bbox_pred'] = (4 * num_classes, hidden)
    for i in (1, 2, 3, 4):
        layers[f'roi_heads.mask_head.mask_fcn{i}'] = (c, c, 3, 3)
    layers['roi_heads.mask_head.deconv'] = (c, c, 2, 2)
    layers['roi_heads.mask_head.predictor'] = (num_classes, c, 1, 1)
    return {**backbone_shapes(version, arch, prefix='backbone.bottom_up.'), **_layers(layers)}


def upernet_shapes(version: str, arch: dict, num_classes: int = 150, channels: int = 512, aux: int = 256) -> dict:
    dims, c = arch['embed_dims'], channels
    convs = {f'decode_head.psp_modules.{i}.1': (c, dims[3], 1, 1) for i in range(4)}
    convs['decode_head.bottleneck'] = (c, dims[3] + 4 * c, 3, 3)
    for i in range(3):
        convs[f'decode_head.lateral_convs.{i}'] = (c, dims[i], 1, 1)
        convs[f'decode_head.fpn_convs.{i}'] = (c, c, 3, 3)
    convs['decode_head.fpn_bottleneck'] = (c, 4 * c, 3, 3)
    convs['auxiliary_head.convs.0'] = (aux, dims[2], 3, 3)
    shapes = backbone_shapes(version, arch, 'mmseg', prefix='backbone.')
    for name, shape in convs.items():
        shapes[f'{name}.conv.weight'] = shape
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{name}.bn.{leaf}'] = shape[:1]
        shapes[f'{name}.bn.num_batches_tracked'] = ()
    shapes.update(
        _layers({'decode_head.conv_seg': (num_classes, c, 1, 1), 'auxiliary_head.conv_seg': (num_classes, aux, 1, 1)})
    )
    return shapes


WHOLE = {
    'classification': classifier_shapes,
    'detectron2-retinanet': retinanet_shapes,
    'detectron2-mask_rcnn': mask_rcnn_shapes,
    'mmseg-upernet': upernet_shapes,
}
# Heads that are as small as the backbone.
SMALL = {
    'classification': dict(num_classes=10),
    'detectron2-retinanet': dict(num_classes=3, channels=16),
    'detectron2-mask_rcnn': dict(num_classes=3, channels=16, hidden=32),
    'mmseg-upernet': dict(num_classes=5, channels=16, aux=8),
}


def make(layout: str, version: str, arch: dict, device: str = 'cpu') -> dict:
    """Without values (on the meta device), the heads are as large as the published ones."""
    sizes = {} if device == 'meta' else SMALL[layout]
    return fill(WHOLE[layout](version, arch, **sizes), device=device, dtype=torch.float32)


def save(state_dict: dict, path, layout: str) -> None:
    """With what stands beside the weights in such files."""
    beside = {
        'classification': dict(epoch=299, args=argparse.Namespace(model='rest', lr=5e-4)),
        'mmseg-upernet': dict(meta=dict(CLASSES=('wall', 'building'), epoch=1)),
    }.get(layout, dict(iteration=1))
    torch.save({'state_dict' if layout.startswith('mmseg') else 'model': state_dict, **beside}, path)


# Layouts, and what each is converted to.
TARGETS = {
    'classification': 'classifier',
    'detectron2-retinanet': 'retinanet',
    'detectron2-mask_rcnn': 'mask_rcnn',
    'mmseg-upernet': 'upernet',
}
LAYOUTS = [
    (version, layout)
    for version in ('rest', 'restv2')
    for layout in TARGETS
    if (version, layout) != ('rest', 'mmseg-upernet')
]
