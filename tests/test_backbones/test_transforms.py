"""Forward-mode and functional derivatives, and recomputation under hooks, against the plain formula."""

import pytest
import torch
from helpers.tolerances import assert_close_in_std
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.utils import prune

from mmrest import ResT, ResTv2
from mmrest.ops import emsa

OPTIONS = [
    dict(attn_impl='direct'),
    dict(attn_impl='chunked'),
    dict(ffn_recompute=True),
    dict(with_cp=True),
    dict(attn_impl='chunked', ffn_recompute=True, with_cp=True),
]


def random_tensor(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize('mixing', [True, False])
@pytest.mark.parametrize('impl', ['auto', 'direct', 'chunked'])
def test_emsa_forward_mode_derivative_equals_the_formula(impl, mixing):
    q, k, v, tangent = (
        random_tensor(2, 4, 15, 8),
        random_tensor(2, 4, 6, 8),
        random_tensor(2, 4, 6, 8),
        random_tensor(2, 4, 15, 8),
    )
    mix = (random_tensor(4, 4), random_tensor(4)) if mixing else ()
    expected = jvp(lambda q: emsa(q, k, v, *mix, impl='reference'), (q,), (tangent,))[1]
    assert_close_in_std(jvp(lambda q: emsa(q, k, v, *mix, impl=impl), (q,), (tangent,))[1], expected)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(q, tangent)
        out = torch.autograd.forward_ad.unpack_dual(emsa(dual, k, v, *mix, impl=impl))
    assert_close_in_std(out.tangent, expected)
    step = 1e-6
    difference = emsa(q + step * tangent, k, v, *mix, impl=impl) - emsa(q - step * tangent, k, v, *mix, impl=impl)
    atol = 1e-6 * expected.abs().max().item()
    torch.testing.assert_close(difference / (2 * step), expected, rtol=0, atol=atol)


@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('train', [True, False])
def test_backbone_under_function_transforms_equals_the_formula(tiny, cls, options, train):
    model = cls(tiny, norm_eval=True, **options).double().train(train)
    plain = cls(tiny, norm_eval=True, attn_impl='reference').double().train(train)
    plain.load_state_dict(model.state_dict())
    x, tangent = random_tensor(2, 3, 40, 36), random_tensor(2, 3, 40, 36)
    derivatives = [jvp(lambda x, model=model: model(x)[-1], (x,), (tangent,))[1] for model in (model, plain)]
    assert_close_in_std(*derivatives)

    def loss(params, x):
        return sum(out.square().sum() for out in functional_call(model, params, (x,)))

    params = {key: p.detach() for key, p in model.named_parameters()}
    grads = grad(loss)(params, x)
    sum(out.square().sum() for out in plain(x)).backward()
    expected = {key: p.grad for key, p in plain.named_parameters()}
    atol = 1e-9 * max(value.abs().max().item() for value in expected.values())
    torch.testing.assert_close(grads, expected, rtol=0, atol=atol)
    if not train:  # one gradient for each image
        each = vmap(grad(lambda params, x: loss(params, x[None])), in_dims=(None, 0))(params, x)
        total = {key: value.sum(0) for key, value in each.items()}
        torch.testing.assert_close(total, expected, rtol=0, atol=atol)


def compare_with_hooks(tiny, hook, **options):
    """Check that two training steps agree with and without options, after ``hook`` has changed each model."""
    models = [ResT(tiny, attn_impl='reference').double(), ResT(tiny, attn_impl='reference', **options).double()]
    models[1].load_state_dict(models[0].state_dict())
    x, seen = random_tensor(1, 3, 40, 36), []
    for model in models:
        torch.manual_seed(0)
        hook(model.train())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            sum(out.square().mean() for out in model(x)).backward()
            optimizer.step()
        seen.append({key: (p.detach(), p.grad) for key, p in model.named_parameters()})
    for key, (value, gradient) in seen[0].items():
        torch.testing.assert_close(seen[1][key], (value, gradient), rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.parametrize('what', ['weight_norm', 'prune', 'output'])
@pytest.mark.filterwarnings('ignore:.*weight_norm.*:FutureWarning')
def test_recomputed_ffn_with_hooks_trains_as_without_recomputation(tiny, what):
    def hook(model):
        mlp = model.stage1[0].mlp
        if what == 'output':
            mlp.register_forward_hook(lambda module, args, out: 0.5 * out)
        elif what == 'prune':
            prune.l1_unstructured(mlp.fc1, 'weight', amount=0.5)
        else:
            nn.utils.weight_norm(mlp.fc1)

    compare_with_hooks(tiny, hook, ffn_recompute=True)


def test_tensors_kept_by_hooks_in_inference_stay_unchanged(tiny, monkeypatch):
    monkeypatch.setattr('mmrest.ops.ffn.tokens_per_block', lambda *_: 16)
    model = ResT(tiny).double().eval()
    kept = {}
    names = ('stage1.0.norm2', 'stage1.0.mlp.fc1', 'stage1.0.mlp.act', 'patch_embed_2.pos.pa_conv', 'stage2.0.attn')
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: kept.setdefault(name, []).append((args[0], out))
        )
    x = random_tensor(1, 3, 64, 48)
    model(x)
    expected, kept = kept, {}
    with torch.no_grad():
        model(x)
    assert set(kept) == set(expected) == set(names)
    for name in names:
        torch.testing.assert_close(kept[name], expected[name], rtol=1e-9, atol=1e-12, msg=name)
