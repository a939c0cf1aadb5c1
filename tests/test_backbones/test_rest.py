"""ResT: parameter counts, sizes, initial weights, registration."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmrest import ResT

# Parameters with the 1000-way classifier: backbone, norm of stage 4, Linear(C, 1000).
PARAMETERS = dict(lite=10_508_300, small=13_679_708, base=30_327_052, large=51_676_156)


@pytest.mark.parametrize('arch', PARAMETERS)
def test_rest_has_the_expected_parameter_count(arch):
    with torch.device('meta'):
        model = ResT(arch, out_indices=(3,))
    classifier = model.out_channels[-1] * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + classifier == PARAMETERS[arch]


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (31, 33), (32, 32), (64, 97)])
@pytest.mark.parametrize('training', [True, False])
def test_rest_with_one_image_of_any_size_rounds_sizes_up(tiny, size, training):
    outs = ResT(tiny).train(training)(torch.rand(1, 3, *size))
    assert [tuple(out.shape) for out in outs] == [
        (1, c, *(-(-n // 2 ** (i + 2)) for n in size)) for i, c in enumerate(tiny['embed_dims'])
    ]
    assert [i for i, out in enumerate(outs) if not (out.isfinite().all() and out.is_contiguous())] == []


def test_rest_initial_weights_follow_their_distributions(tiny):
    model = ResT(tiny)
    norms = {key: m for key, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
    linears = {key: m for key, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert [key for key, m in norms.items() if not (m.weight == 1).all()] == []
    assert [key for key, m in {**norms, **linears}.items() if m.bias.any()] == []
    big = ResT('lite')
    assert big.stage4[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.03)
    # 81 positions of one channel, not of 64.
    assert big.stage1[0].attn.sr.weight.std().item() == pytest.approx((2 / 81) ** 0.5, rel=0.05)


@pytest.mark.matrix
@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmseg'])
def test_rest_is_built_by_the_registry_of_every_library(tiny, scope):
    registry = MODELS
    if scope != 'mmengine':
        registry = pytest.importorskip(f'{scope}.registry').MODELS
    assert isinstance(registry.build(dict(type='ResT', arch=tiny)), ResT)
