"""Counted parameters and operations against those that the papers print."""

import pytest

from mmrest import ResT, ResTAblation, ResTv2
from mmrest.analysis.published import REST, RESTV2, ablation_table, comparison_table, count_classifier


@pytest.mark.parametrize('arch', REST)
def test_rest_with_resnet_stem_has_the_cost_of_the_paper(arch):
    params, macs = REST[arch]
    counted = count_classifier(ResTAblation, 224, arch=arch, stem='resnet')
    assert round(counted[0] / 1e6, 2) == params
    assert counted[1] / 1e9 == pytest.approx(macs, abs=0.01)
    assert count_classifier(ResT, 224, arch=arch)[1] / 1e9 > 1.02 * macs


@pytest.mark.parametrize('arch', RESTV2)
@pytest.mark.parametrize('i, size', enumerate([224, 384], 1))
def test_restv2_with_attention_has_the_cost_of_the_paper(arch, i, size):
    params, layers, total = count_classifier(ResTv2, size, arch=arch)
    assert round(params / 1e6, 2) == RESTV2[arch][0]
    assert total / 1e9 == pytest.approx(RESTV2[arch][i], rel=0.006)
    assert layers / 1e9 < 0.98 * RESTV2[arch][i]


def test_tables_in_docs_are_up_to_date(repo):
    text = (repo / 'docs/ablations.md').read_text()
    assert comparison_table() in text and ablation_table() in text
