"""Counted parameters and operations against those that the papers print."""

import pytest

from mmrest import ResT, ResTAblation, ResTv2
from mmrest.analysis.published import REST, RESTV2, ablation_table, comparison_table, count_classifier


@pytest.mark.parametrize('arch', REST)
def test_the_figures_of_rest_are_those_of_the_stem_of_resnet(arch):
    params, macs = REST[arch]
    counted = count_classifier(ResTAblation, 224, arch=arch, stem='resnet')
    assert round(counted[0] / 1e6, 2) == params
    assert counted[1] / 1e9 == pytest.approx(macs, abs=0.01)
    assert count_classifier(ResT, 224, arch=arch)[1] / 1e9 > 1.02 * macs


@pytest.mark.parametrize('arch', RESTV2)
@pytest.mark.parametrize('i, size', enumerate([224, 384], 1))
def test_the_figures_of_restv2_have_attention_in_them(arch, i, size):
    params, layers, total = count_classifier(ResTv2, size, arch=arch)
    assert round(params / 1e6, 2) == RESTV2[arch][0]
    assert total / 1e9 == pytest.approx(RESTV2[arch][i], rel=0.006)
    assert layers / 1e9 < 0.98 * RESTV2[arch][i]


def test_tables_of_the_docs_are_the_generated_ones(repo):
    text = (repo / 'docs/ablations.md').read_text()
    assert comparison_table() in text and ablation_table() in text
