"""Python frames between a backbone's forward and the matrix product of attention."""

import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mmrest
from mmrest import ResT, ResTv2

PACKAGE = Path(mmrest.__file__).parent
MAX_FRAMES = 7


class Stacks(TorchDispatchMode):
    """Record the frames of this package that lead to each batched matrix product."""

    def __init__(self):
        super().__init__()
        self.stacks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.bmm, torch.ops.mmrest.emsa_chunked):
            frames = [frame for frame in traceback.extract_stack() if PACKAGE in Path(frame.filename).parents]
            self.stacks.append([f'{Path(frame.filename).name}:{frame.name}' for frame in frames])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('backbone', [ResT, ResTv2])
@pytest.mark.parametrize('impl', ['reference', 'direct', 'chunked'])
def test_backbone_forward_reaches_the_attention_product_within_seven_frames(tiny, backbone, impl):
    model = backbone(tiny, attn_impl=impl).eval()
    with torch.no_grad(), Stacks() as seen:
        model(torch.rand(1, 3, 64, 64))
    assert seen.stacks
    for stack in seen.stacks:
        assert len(stack) <= MAX_FRAMES, stack
        assert stack[0] == 'pyramid.py:forward'
