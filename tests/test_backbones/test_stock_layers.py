"""Tools that go by the exact type of layers of torch, and copies of whole models."""

import copy
import pickle
from functools import partial

import pytest
import torch
from helpers.layer_changes import BACKBONES, PRODUCTS, SIZE, STOCK, PlainAttention, build_pair, layers, random_tensor
from torch import nn
from torch.ao import quantization
from torch.nn.utils import prune

from mmrest import ResT, ResTAblation, ResTv2
from mmrest.analysis.complexity import add_up, count_backbone
from mmrest.benchmark.baselines import Baseline
from mmrest.layers import DropPath, HeadAttention

WITHOUT_PARAMETERS = (
    nn.GELU,
    nn.ReLU,
    nn.Identity,
    nn.Dropout,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.PixelShuffle,
    nn.Upsample,
    DropPath,
    HeadAttention,
)


@pytest.mark.parametrize(
    'options',
    [
        dict(stem='resnet', reduction='avgpool', position='gl'),
        dict(stem='pvt', reduction='maxpool', position='gl_dw'),
        dict(attention='msa', position='none'),
        {},
    ],
)
def test_backbone_leaves_are_stock_layers_by_exact_type(tiny, options):
    models = [ResTAblation(tiny, **options), *(backbone(tiny) for backbone in BACKBONES)]
    for model in models:
        for name, module in model.named_modules():
            if not list(module.children()):
                assert type(module) in STOCK + WITHOUT_PARAMETERS, name
                assert type(module) in STOCK or not list(module.parameters()), name


@pytest.mark.parametrize('backbone, arch, gmacs', [(ResT, 'lite', 1.459), (ResTv2, 'tiny', 3.972)])
def test_mac_counter_by_exact_layer_type_agrees_with_count_backbone(backbone, arch, gmacs):
    model, macs = backbone(arch).to('meta').eval(), []

    def count(module, inputs, out):
        macs.append(out.numel() * (module.in_features if type(module) is nn.Linear else module.weight[0].numel()))

    handles = [layer.register_forward_hook(count) for layer in layers(model, PRODUCTS).values()]
    with torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device='meta'))
    assert len(macs) == len(handles)
    for handle in handles:
        handle.remove()
    assert sum(macs) == add_up(count_backbone(model, (224, 224))[0]).layers
    assert sum(macs) / 1e9 == pytest.approx(gmacs, abs=1e-3)


@pytest.mark.parametrize('backbone', BACKBONES, ids=['ResT', 'ResTv2', 'windows'])
@pytest.mark.filterwarnings('ignore')
def test_dynamic_quantization_converts_every_linear_layer(tiny, backbone):
    plain, model = (m.float().eval() for m in build_pair(backbone, tiny))
    x = torch.randn(2, 3, *SIZE)
    plain, quantized = (quantization.quantize_dynamic(m, {nn.Linear}) for m in (plain, model))
    kinds = [type(module).__module__ for module in quantized.modules() if type(module).__name__ == 'Linear']
    assert len(kinds) == len(layers(model, (nn.Linear,)))
    assert [kind for kind in kinds if 'quantized.dynamic' not in kind] == []
    with torch.no_grad():
        for out, expected, exact in zip(quantized(x), plain(x), model(x)):
            assert (out - expected).std() < 1e-2 * exact.std() and (out - exact).std() < 0.2 * exact.std()
    assert not torch.equal(out, exact)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.skipif('fbgemm' not in torch.backends.quantized.supported_engines, reason='needs fbgemm')
def test_quantization_aware_training_observes_every_product(tiny):
    for backbone in BACKBONES:
        model = backbone(tiny).train()
        model.qconfig = quantization.get_default_qat_qconfig('fbgemm')
        model, count = quantization.prepare_qat(model), len(layers(model, PRODUCTS))
        sum(out.square().mean() for out in model(torch.randn(2, 3, *SIZE))).backward()
        assert [key for key, p in model.named_parameters() if p.grad is None] == []
        quantized = [module for module in model.modules() if hasattr(module, 'weight_fake_quant')]
        assert len(quantized) == count
        for observer in (module.activation_post_process for module in quantized):
            assert observer.scale.numel() and float(observer.activation_post_process.max_val) > -float('inf')


@pytest.mark.parametrize('name', ['torch', 'mmcv'])
def test_fusing_batch_norms_into_convolutions_keeps_the_outputs(tiny, name):
    for backbone, triples in (
        (
            ResT,
            [
                'stem.conv1 stem.norm1 stem.act1',
                'stem.conv2 stem.norm2 stem.act2',
                'patch_embed_2.conv patch_embed_2.norm',
            ],
        ),
        (ResTv2, ['stem.proj.0 stem.proj.1 stem.proj.2', 'stem.proj.3 stem.proj.4']),
    ):
        _, model = build_pair(backbone, tiny)
        model.eval()
        if name == 'torch':
            fused = quantization.fuse_modules(model, [triple.split() for triple in triples])
        else:
            fused = pytest.importorskip('mmcv.cnn').fuse_conv_bn(copy.deepcopy(model))
        x = random_tensor(1, 3, *SIZE)
        assert len(layers(fused, (nn.BatchNorm2d,))) < len(layers(model, (nn.BatchNorm2d,)))
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                for out, expected in zip(fused(x), model(x)):
                    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


def test_pruned_backbone_keeps_its_outputs_when_pruning_becomes_permanent(tiny):
    _, model = build_pair(ResT, tiny)
    for layer in layers(model, PRODUCTS).values():
        prune.l1_unstructured(layer, 'weight', 0.3)
    model.eval()
    x = random_tensor(1, 3, *SIZE)
    with torch.no_grad():
        expected = model(x)
        for layer in layers(model, PRODUCTS).values():
            prune.remove(layer, 'weight')
        for out, other in zip(model(x), expected):
            torch.testing.assert_close(out, other, rtol=1e-9, atol=1e-9)
    assert (model.stage2[0].attn.transform_conv.weight == 0).sum() == 1


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [True, False])
def test_hooked_head_convolution_in_half_precision_is_as_accurate_as_the_formula(tiny, dtype, autocast):
    """A head convolution with a hook is called as a module, and is as accurate as the formula in that dtype."""
    torch.manual_seed(0)
    attn = ResT(tiny).stage3[0].attn.double()
    x = random_tensor(2, 36, 24)
    exact = attn(x, (6, 6))
    own, plain = copy.deepcopy(attn), copy.deepcopy(attn)
    plain.attend = PlainAttention()
    for module in (own, plain):
        module.float() if autocast else module.to(dtype)
        module.transform_conv.register_forward_hook(lambda *_: None)
    errors = []
    for module in (own, plain):
        with torch.autocast('cpu', dtype=dtype, enabled=autocast):
            out = module(x.float() if autocast else x.to(dtype), (6, 6))
        errors.append((out.double() - exact).square().mean().sqrt())
    assert errors[0] <= 2 * errors[1]


def prepared(kind, tiny, tmp_path):
    if kind == 'loaded':
        torch.save(dict(state_dict=ResT(tiny).state_dict()), tmp_path / 'model.pth')
        model = ResT(tiny, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth')))
        model.init_weights()
        return model
    if kind == 'compiled':
        model = ResT(tiny)
        model.stem.compile(backend='eager')
        return model
    return {
        'frozen': partial(ResT, tiny, frozen_stages=2, norm_eval=True),
        'recomputed': partial(ResTv2, tiny, with_cp=True, ffn_recompute=True),
        'windows': partial(ResTv2, tiny, style='hwin', window_sizes=(4, 4, 4, 4)),
        'baseline': lambda: Baseline(ResT(tiny), 'released'),
    }[kind]()


@pytest.mark.parametrize('kind', ['loaded', 'compiled', 'frozen', 'recomputed', 'windows', 'baseline'])
def test_backbone_copied_pickled_or_saved_gives_the_same_outputs(tiny, kind, tmp_path):
    model = prepared(kind, tiny, tmp_path)
    x = torch.rand(2, 3, *SIZE)
    sum(out.sum() for out in model.train()(x)).backward()
    torch.save(model, tmp_path / 'whole.pth')
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(tmp_path / 'whole.pth', weights_only=False),
    ]
    model.eval()
    for other in copies:
        assert other.state_dict().keys() == model.state_dict().keys()
        other.load_state_dict(model.state_dict())  # by the copy's own hook
        with torch.no_grad():
            for out, expected in zip(other.eval()(x), model(x)):
                torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
