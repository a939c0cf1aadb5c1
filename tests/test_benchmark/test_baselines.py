"""The released forms of the backbone that the benchmark compares with."""

import pytest
import torch

from mmrest import ResT
from mmrest.benchmark.baselines import BASELINES, Baseline


@pytest.mark.parametrize('form', BASELINES)
def test_baseline_equals_the_backbone(tiny, form):
    model, other = (ResT(tiny).double() for _ in range(2))
    other.load_state_dict(model.state_dict())
    baseline = Baseline(other, form)
    x = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    for train in (True, False):
        model.train(train)
        baseline.train(train)
        with torch.set_grad_enabled(train):
            outs, expected = baseline(x), model(x)
        assert [out.requires_grad for out in outs] == [train] * 4
        for out, own in zip(outs, expected):
            torch.testing.assert_close(out, own, rtol=0, atol=1e-9)
    assert [key for key, p in baseline.named_parameters() if not p.requires_grad] == []
    sum(out.sum() for out in baseline(x)).backward()


def test_baseline_in_inference_takes_no_fast_path(tiny, monkeypatch):
    monkeypatch.setattr('mmrest.ops.ffn._by_blocks', lambda *_: pytest.fail('by blocks'))
    with torch.no_grad():
        Baseline(ResT(tiny).eval(), 'released')(torch.rand(1, 3, 64, 64))
