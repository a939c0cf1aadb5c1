"""ResT in plain NumPy and float64: an independent implementation to compare the package with.

It follows the paper's formulas and the published parameter names, and shares no code with the package.
``python tests/reference/numpy_rest.py`` computes the values in ``rest.json`` anew.
"""

from __future__ import annotations

import json
import zlib
from math import erf
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).with_name('rest.json')
ARCH = dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
CASES = ((2, 3, 64, 96), (1, 3, 61, 47), (1, 3, 32, 32), (1, 3, 1, 1))


def random_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard-normal float64 numbers that depend on the name only; NumPy keeps this stream for good."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))


def make_weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a weight that keeps activations of order one."""
    z = random_array(key, shape)
    if key.endswith('running_var'):
        return 0.5 + z**2
    if len(shape) == 1:
        return 0.2 * z + (key.endswith('weight') and 'norm' in key)
    return z / np.sqrt(np.prod(shape[1:]))


def conv2d(x, weight, bias=None, stride=1, padding=0, groups=1):
    """Convolve (B, C, H, W) as the sum over kernel positions of shifted images times weights."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel, _ = weight.shape
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, cols = ((n + 2 * padding - kernel) // stride + 1 for n in (height, width))
    x = x.reshape(batch, groups, channels // groups, *x.shape[2:])
    weight = weight.reshape(groups, out_channels // groups, channels // groups, kernel, kernel)
    out = np.zeros((batch, groups, out_channels // groups, rows, cols))
    for i in range(kernel):
        for j in range(kernel):
            seen = x[..., i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (cols - 1) + 1 : stride]
            out += np.einsum('bgchw,goc->bgohw', seen, weight[..., i, j])
    out = out.reshape(batch, out_channels, rows, cols)
    return out if bias is None else out + bias[:, None, None]


def standardise(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


class NumpyResT:
    """``weights`` maps published keys to arrays."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.w = weights

    def linear(self, name, x):
        return x @ self.w[f'{name}.weight'].T + self.w[f'{name}.bias']

    def layer_norm(self, name, x):
        return standardise(x, -1) * self.w[f'{name}.weight'] + self.w[f'{name}.bias']

    def batch_norm(self, name, x):
        w = {k: self.w[f'{name}.{k}'][:, None, None] for k in ('weight', 'bias', 'running_mean', 'running_var')}
        return (x - w['running_mean']) / np.sqrt(w['running_var'] + 1e-5) * w['weight'] + w['bias']

    def pixel_attention(self, name, x):
        weight, bias = self.w[f'{name}.pa_conv.weight'], self.w[f'{name}.pa_conv.bias']
        return x / (1 + np.exp(-conv2d(x, weight, bias, padding=1, groups=x.shape[1])))

    def stem(self, x):
        for i, stride in ((1, 2), (2, 1)):
            x = conv2d(x, self.w[f'stem.conv{i}.weight'], stride=stride, padding=1)
            x = np.maximum(self.batch_norm(f'stem.norm{i}', x), 0)
        return self.pixel_attention('stem.pos', conv2d(x, self.w['stem.conv3.weight'], stride=2, padding=1))

    def patch_embed(self, name, x):
        x = conv2d(x, self.w[f'{name}.conv.weight'], self.w[f'{name}.conv.bias'], stride=2, padding=1)
        return self.pixel_attention(f'{name}.pos', self.batch_norm(f'{name}.norm', x))

    def attention(self, name, x, height, width, heads, sr):
        batch, tokens, channels = x.shape
        d = channels // heads
        q = self.linear(f'{name}.q', x).reshape(batch, tokens, heads, d)
        if sr > 1:
            image = x.transpose(0, 2, 1).reshape(batch, channels, height, width)
            image = conv2d(image, self.w[f'{name}.sr.weight'], self.w[f'{name}.sr.bias'], sr, sr // 2, channels)
            x = self.layer_norm(f'{name}.sr_norm', image.reshape(batch, channels, -1).transpose(0, 2, 1))
        kv = self.linear(f'{name}.kv', x)
        k = kv[..., :channels].reshape(batch, -1, heads, d)
        v = kv[..., channels:].reshape(batch, -1, heads, d)
        maps = np.einsum('bnkd,bmkd->bknm', q, k) / np.sqrt(d)
        if heads > 1:
            maps = conv2d(maps, self.w[f'{name}.transform_conv.weight'], self.w[f'{name}.transform_conv.bias'])
        maps = softmax(maps)
        if heads > 1:
            maps = standardise(maps, (-2, -1))
        return self.linear(f'{name}.proj', np.einsum('bknm,bmkd->bnkd', maps, v).reshape(batch, tokens, channels))

    def ffn(self, name, x):
        x = self.linear(f'{name}.fc1', x)
        return self.linear(f'{name}.fc2', x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))))

    def __call__(self, x, arch=ARCH):
        """Raw stage outputs, (B, C_i, H_i, W_i) each."""
        outs = []
        for i, (heads, sr) in enumerate(zip(arch['num_heads'], arch['sr_ratios'])):
            x = self.stem(x) if i == 0 else self.patch_embed(f'patch_embed_{i + 1}', x)
            batch, channels, height, width = x.shape
            tokens = x.reshape(batch, channels, -1).transpose(0, 2, 1)
            for j in range(arch['depths'][i]):
                block = f'stage{i + 1}.{j}'
                normed = self.layer_norm(f'{block}.norm1', tokens)
                tokens = tokens + self.attention(f'{block}.attn', normed, height, width, heads, sr)
                tokens = tokens + self.ffn(f'{block}.mlp', self.layer_norm(f'{block}.norm2', tokens))
            x = tokens.transpose(0, 2, 1).reshape(batch, channels, height, width)
            outs.append(x)
        return outs


def parameter_shapes(arch=ARCH) -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of a backbone without output norms, as published files name them."""
    shapes = {}

    def affine(name, n, running=False):
        for leaf in ('weight', 'bias', *(('running_mean', 'running_var') if running else ())):
            shapes[f'{name}.{leaf}'] = (n,)

    def layer(name, *shape, bias=True):
        shapes[f'{name}.weight'] = shape
        if bias:
            shapes[f'{name}.bias'] = shape[:1]

    dims = arch['embed_dims']
    half = dims[0] // 2
    for i, (n_out, n_in) in enumerate(((half, 3), (half, half), (dims[0], half)), start=1):
        layer(f'stem.conv{i}', n_out, n_in, 3, 3, bias=False)
        if i < 3:
            affine(f'stem.norm{i}', n_out, running=True)
    for i, (c, heads, sr) in enumerate(zip(dims, arch['num_heads'], arch['sr_ratios'])):
        embed = f'patch_embed_{i + 1}' if i else 'stem'
        if i:
            layer(f'{embed}.conv', c, dims[i - 1], 3, 3)
            affine(f'{embed}.norm', c, running=True)
        layer(f'{embed}.pos.pa_conv', c, 1, 3, 3)
        for j in range(arch['depths'][i]):
            block = f'stage{i + 1}.{j}'
            affine(f'{block}.norm1', c)
            affine(f'{block}.norm2', c)
            layer(f'{block}.attn.q', c, c)
            layer(f'{block}.attn.kv', 2 * c, c)
            layer(f'{block}.attn.proj', c, c)
            if sr > 1:
                layer(f'{block}.attn.sr', c, 1, sr + 1, sr + 1)
                affine(f'{block}.attn.sr_norm', c)
            if heads > 1:
                layer(f'{block}.attn.transform_conv', heads, heads, 1, 1)
            layer(f'{block}.mlp.fc1', 4 * c, c)
            layer(f'{block}.mlp.fc2', c, 4 * c)
    return shapes


def main() -> None:
    model = NumpyResT({key: make_weight(key, shape) for key, shape in parameter_shapes().items()})
    cases = []
    for shape in CASES:
        outs = model(random_array(f'image{shape}', shape))
        # A few values and the spread of each output say enough, and keep the file small.
        cases.append(
            dict(
                image=shape,
                outputs=[
                    dict(shape=out.shape, std=out.std(), first=out.ravel()[:8].tolist(), last=out.ravel()[-8:].tolist())
                    for out in outs
                ],
            )
        )
    FIXTURE.write_text(json.dumps(cases, indent=1) + '\n')
    print(f'wrote {FIXTURE}')


if __name__ == '__main__':
    main()
