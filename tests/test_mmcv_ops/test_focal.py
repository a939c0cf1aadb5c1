"""Focal losses beside the formula."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmcv_cases import generator, with_grads

from mmrest.mmcv_ops import extension


@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss_equals_the_formula(stand_in, weighted):
    x = torch.cat([torch.randn(40, 6, generator=generator(0)) * 4, torch.full((1, 6), 60.0), torch.full((1, 6), -60.0)])
    target = torch.arange(42) % 7
    weight = torch.rand(6, generator=generator(1)) if weighted else None

    def plain(x):
        p, hot = x.sigmoid(), F.one_hot(target, 7)[:, :6].bool()
        loss = torch.where(hot, -0.25 * (1 - p) ** 2 * F.logsigmoid(x), -0.75 * p**2 * F.logsigmoid(-x))
        return loss * torch.cat([weight, torch.ones(1)])[target][:, None] if weighted else loss

    ours = with_grads(lambda x: stand_in.sigmoid_focal_loss(x, target, 2.0, 0.25, weight, 'none'), x)
    for value, exact in zip(ours, with_grads(plain, x.double())):
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    for dtype in (torch.bfloat16, torch.float16):
        assert stand_in.sigmoid_focal_loss(x.to(dtype), target, 2.0, 0.25, None, 'mean').isfinite()


def test_softmax_focal_loss_equals_the_formula(stand_in):
    x = torch.randn(30, 5, generator=generator(0))
    target = torch.arange(30) % 5

    def plain(x):
        p = x.softmax(1).gather(1, target[:, None])[:, 0]
        return -0.25 * (1 - p) ** 2 * p.log()

    def ours(x):
        return stand_in.softmax_focal_loss(x, target, 2.0, 0.25, None, 'none')

    grad = torch.ones(30)
    leaf = x.clone().requires_grad_()
    plain(leaf).backward(grad)
    torch.testing.assert_close(ours(x), plain(x))
    probabilities, buff, found = x.softmax(1), torch.zeros(30), torch.zeros(30, 5)
    extension.softmax_focal_loss_backward(probabilities, target, torch.zeros(0), buff, found, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(found, leaf.grad)
