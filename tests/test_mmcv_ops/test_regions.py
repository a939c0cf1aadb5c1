"""Pooling of regions."""

from __future__ import annotations

import torch
from mmcv_cases import generator, with_grads

from mmrest.mmcv_ops import extension


def test_roi_pool_takes_the_largest_value_of_each_bin(stand_in):
    """Bins have the edges of mmcv, which are not rounded to pixels first."""
    x = torch.randn(2, 3, 8, 9, generator=generator(0))
    rois = torch.tensor([[0, 0.6, 1.2, 5.4, 6.7], [1, 2, 2, 2, 2], [1, -9, -9, -5, -5], [0, 5, 5, 3, 3]])
    out, grad = with_grads(lambda x: stand_in.roi_pool(x, rois, (2, 2), 1.0), x)
    assert torch.equal(out[0, :, 0, 0], x[0, :, 1:5, 0:4].flatten(1).max(1)[0])  # rows 1.2 to 4.45, columns 0.6 to 3.5
    assert torch.equal(out[1], x[1, :, 2:3, 2:3].expand(3, 2, 2))
    assert not out[2:].any()
    expected = torch.randn(out.shape, generator=generator(9))
    torch.testing.assert_close(grad.sum(), expected[:2].sum())


def test_half_precision_keeps_places_exact(stand_in):
    """Half precision holds neither the offsets of 3000 boxes nor places far from the origin."""
    corner = torch.cartesian_prod(torch.arange(60.0), torch.arange(50.0)) * 4
    order = torch.randperm(3000, generator=generator(0))
    kept = extension.nms(torch.cat([corner, corner + 2], 1).half(), order.float(), 0.5, 0)
    assert torch.equal(kept, order.argsort(descending=True))
    x = (torch.arange(4000) % 16).expand(1, 1, 2, 4000).half()
    rois = torch.tensor([[0, 3001, 0.5, 3002, 1.5]])  # 3001 is no number in half precision
    assert stand_in.roi_align(x, rois, 1, 1.0, 1).item() == 3001 % 16
