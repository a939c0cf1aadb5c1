"""Models that the benchmark can build."""

from mmrest import ResT
from mmrest.benchmark.models import AttentionOnly


def test_attention_alone_has_the_sizes_of_the_backbone(tiny):
    model = AttentionOnly(ResT(tiny), (100, 64), batch=2, baseline=None)
    shapes = [tuple(p.shape) for p in model.stages]
    # 25 x 16 tokens reduced 8 times, then 13 x 8 reduced 4 times: sides are rounded up.
    assert shapes[:2] == [(2, 400, 8), (2, 4 * 2, 16)] and shapes[4:6] == [(2, 104, 16), (2, 4 * 2, 32)]
    assert [setting[:3] for setting in model.settings] == [(1, 1, False), (2, 2, True), (4, 1, True), (8, 1, True)]
    assert len(model.train()()) == 5 and len(model.eval()()) == 1
