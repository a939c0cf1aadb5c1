"""Both backbones against the published models, and against a plain NumPy implementation of ResT."""

import copy
import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy_rest
import pytest
import torch
import torch.nn.functional as F
from helpers.ids import short_id
from torch import nn

from mmrest import ResT, ResTv2

GOLDEN = [
    'rest_lite-classification',
    'rest_base-classification',
    'rest_lite-detectron2',
    'restv2_tiny-classification',
    'restv2_tiny-detectron2',
]
# The published code gives a single image a memory layout in which PyTorch's BatchNorm on a CPU reads its gradient
# in the wrong order (mmrest.layers.to_map). The stored gradients of this case, from this parameter backwards, have
# that error: the derivative of the stored outputs, by finite differences, is another.
STORED_WRONG_BEFORE = {'rest_lite-detectron2': 'patch_embed_4.pos.pa_conv.weight'}


@pytest.mark.matrix
@pytest.mark.parametrize('case', json.loads(numpy_rest.FIXTURE.read_text()), ids=lambda case: short_id(case['image']))
def test_rest_outputs_equal_the_stored_values_of_the_numpy_model(case):
    model = ResT(numpy_rest.ARCH, out_norm='none').double().eval()
    shapes = numpy_rest.parameter_shapes()
    weights = {key: torch.from_numpy(numpy_rest.make_weight(key, shape)) for key, shape in shapes.items()}
    result = model.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    assert [key for key in result.missing_keys if 'num_batches_tracked' not in key] == []
    image = torch.from_numpy(numpy_rest.random_array(f'image{tuple(case["image"])}', case['image']))
    for out, expected in zip(model(image), case['outputs']):
        assert list(out.shape) == expected['shape']
        first, last = (torch.tensor(expected[part], dtype=torch.float64) for part in ('first', 'last'))
        atol = 1e-9 * expected['std']
        torch.testing.assert_close(out.flatten()[:8], first, rtol=0, atol=atol)
        torch.testing.assert_close(out.flatten()[-8:], last, rtol=0, atol=atol)


def test_numpy_model_reproduces_its_stored_values():
    model = numpy_rest.NumpyResT({k: numpy_rest.make_weight(k, s) for k, s in numpy_rest.parameter_shapes().items()})
    shape = numpy_rest.CASES[2]
    case = next(c for c in json.loads(numpy_rest.FIXTURE.read_text()) if tuple(c['image']) == shape)
    for out, expected in zip(model(numpy_rest.random_array(f'image{shape}', shape)), case['outputs']):
        assert out.ravel()[:8].tolist() == pytest.approx(expected['first'], rel=1e-9)


@dataclass
class Published:
    """A published model: its stored values, its weights, and the backbone of this package that took them.

    Args:
        name (str): Of the stored values.
        golden (ModuleType): Reads and compares stored values.
        values (dict): The stored values.
        weights (dict): The published weights.
        image (Tensor): The image of the stored values, in float64.
        model (nn.Module): The backbone in float64 and eval mode.
        loaded (NamedTuple): Missing and unexpected keys of loading ``weights`` into ``model``.
    """

    name: str
    golden: ModuleType
    values: dict[str, Any]
    weights: dict[str, torch.Tensor]
    image: torch.Tensor
    model: nn.Module
    loaded: Any


@pytest.fixture(scope='module', params=GOLDEN)
def published(external, request) -> Published:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(external / 'golden'))
        golden = pytest.importorskip('golden')
    values, arrays = golden.load(external / 'golden' / f'{request.param}.json')
    weights = {key: torch.as_tensor(array) for key, array in arrays.items()}
    image = torch.from_numpy(golden.image(values['seed'], values['image']))
    name, arch = values['variant'].split('_')
    # The published v1 detectors feed the normalized map onward.
    trunk = values['layout'] == 'detectron2' and name == 'rest'
    model = dict(rest=ResT, restv2=ResTv2)[name](arch, out_norm='trunk' if trunk else 'branch').double().eval()
    loaded = model.load_state_dict(weights, strict=False)
    return Published(request.param, golden, values, weights, image, model, loaded)


def classify(model, image, weights):
    """Compute raw stage outputs and logits as the published classifier does."""
    raw = []
    handles = [
        getattr(model, f'norm{i + 1}').register_forward_pre_hook(lambda _, args: raw.append(args[0])) for i in range(4)
    ]
    outs = model(image)
    for handle in handles:
        handle.remove()
    # Of v1, the classifier's norm is the backbone's last; of v2, it is the classifier's own.
    last = outs[-1]
    if isinstance(model, ResTv2):
        tokens = F.layer_norm(raw[-1], raw[-1].shape[-1:], weights['norm.weight'], weights['norm.bias'], eps=1e-6)
        last = tokens.transpose(1, 2).unflatten(2, last.shape[2:])
    pooled = last.mean(dim=(2, 3))
    named = {
        f'stage{i + 1}': tokens.transpose(1, 2).unflatten(2, out.shape[2:])
        for i, (tokens, out) in enumerate(zip(raw, outs))
    }
    return {**named, 'logits': pooled @ weights['head.weight'].T + weights['head.bias']}


def published_norm_to_own(key):
    """Translate the name of a published norm: norm -> norm4 (v1); norm_2.0 -> norm2 (v2)."""
    name, leaf = key.rsplit('.', 1)
    return ('norm4' if name == 'norm' else f'norm{name[5]}') + f'.{leaf}'


def check_along_gradient(loss, params, step=1e-5):
    """Check by central differences that the derivative along the gradient of some parameters is the gradient's norm."""
    norm = sum(p.grad.square().sum() for p in params).sqrt()
    values = []
    with torch.no_grad():
        for move in (step, -2 * step, step):
            for p in params:
                p += move / norm * p.grad
            values.append(loss())
    assert ((values[0] - values[1]) / (2 * step)).item() == pytest.approx(norm.item(), rel=1e-4)


def test_backbone_outputs_and_gradients_equal_the_published_model(published):
    golden, values, weights, image = published.golden, published.values, published.weights, published.image
    model, result = copy.deepcopy(published.model), published.loaded
    detector = values['layout'] == 'detectron2'
    # The hook translates the published output norms; only those that a classifier lacks are missing.
    v1 = isinstance(model, ResT)
    new_norms = [f'norm{i}.{leaf}' for i in ((1, 2, 3) if v1 else (1, 2, 3, 4)) for leaf in ('weight', 'bias')]
    own_head = ['head.weight', 'head.bias'] if v1 else ['norm.weight', 'norm.bias', 'head.weight', 'head.bias']
    assert sorted(result.missing_keys) == ([] if detector else sorted(new_norms))
    assert result.unexpected_keys == ([] if detector else own_head)
    head = {key: weights[key].clone().requires_grad_() for key in own_head if not detector}

    def compute():
        if detector:
            return {f'stage{i + 1}': out for i, out in enumerate(model(image))}
        return classify(model, image, head)

    outputs = compute()
    assert set(outputs) == set(values['outputs'])
    for key, out in outputs.items():
        assert golden.worst(values, key, out.detach().numpy()) < 1e-9, key

    factors = {
        key: torch.from_numpy(golden.image(values['seed'] + 1, out.shape, tag=key)) for key, out in outputs.items()
    }

    def total(outputs):
        return sum((out * factors[key]).mean() for key, out in outputs.items())

    total(outputs).backward()
    grads = {key: param.grad for key, param in model.named_parameters()}
    grads.update({key: tensor.grad for key, tensor in head.items()})
    order = list(grads)
    first = STORED_WRONG_BEFORE.get(published.name)
    doubted = dict.fromkeys(order[: order.index(first)] if first else ())
    if doubted:  # along the gradient, the derivative is its norm
        check_along_gradient(lambda: total(compute()), [dict(model.named_parameters())[key] for key in doubted])
    for key, norm in values['grads'].items():
        if key in doubted:
            continue
        own = key if key in grads else published_norm_to_own(key)
        # Norms below 1e-12 are zero in exact arithmetic.
        assert abs(grads[own].norm().item() - norm) <= max(1e-7 * norm, 1e-11), key


def test_backbone_in_float32_is_close_to_the_published_model(published):
    golden, values = published.golden, published.values
    model, image = copy.deepcopy(published.model).float(), published.image.float()
    if values['layout'] == 'detectron2':
        outputs = {f'stage{i + 1}': out for i, out in enumerate(model(image))}
    else:
        outputs = classify(model, image, {key: weight.float() for key, weight in published.weights.items()})
    for key, out in outputs.items():
        assert golden.worst(values, key, out.detach().numpy()) < 1e-3, key
