"""The figures that the papers print, against reference tables and the pages of docs."""

import json
import re

import pytest

from mmrest.analysis.papers import FIGURES, GMACS, MIOU, PARAMS, TOP1, printed_figures


def test_figures_equal_the_tables_of_the_papers(external):
    """FIGURES holds each number of the reference tables and nothing else."""
    tables = json.loads((external / 'spec/paper_tables.json').read_text())
    expected = {}
    renamed = {'AP': 'box AP', 'params_M': PARAMS, 'mIoU ms+flip': MIOU, 'GFLOPs_512x2048': GMACS}
    for key, name in (
        ('retinanet_1x_coco', 'retinanet_{}_fpn_1x_coco'),
        ('mask_rcnn_1x_coco', 'mask_rcnn_{}_fpn_1x_coco'),
        ('mask_rcnn_3x_coco', 'mask_rcnn_{}_fpn_3x_coco'),
        ('upernet_160k_ade20k_512', 'upernet_{}_512x512_160k_ade20k'),
    ):
        columns = [renamed.get(column, column) for column in tables[key]['columns']]
        columns = [f'box {column}' if column.startswith('AP') else column for column in columns]
        for row, values in tables[key].items():
            if row.startswith('rest'):
                stem = name.format(row.replace('_without_output_LN', ''))
                stem += '_wo-ln' if row.endswith('_LN') else ''
                expected[stem] = {column: value for column, value in zip(columns, values) if column != 'FPS_V100'}
    for row, value in tables['imagenet_1k_top1'].items():
        expected[f'{row}_in1k' if row.endswith('384') else f'{row}_8xb256_in1k'] = {TOP1: value}
    rows = {
        'stem': {'pvt': 'stem-pvt', 'resnet': 'stem-resnet'},
        'reduction': {'avgpool': 'reduction-avgpool', 'maxpool': 'reduction-maxpool'},
        'attention': {'without IN': 'wo-in', 'without conv and IN': 'wo-conv-in', 'MSA': 'msa'},
        'position': {'none': 'position-none', 'LE': 'position-le', 'GL': 'position-gl'},
    }
    expected['rest_lite_8xb256-ablation_in1k'] = {TOP1: tables['ablation_rest_lite_top1']['stem']['rest']}
    for table, names in rows.items():
        for row, name in names.items():
            stem = f'rest_lite_{name}_{"8xb64" if name == "msa" else "8xb256"}-ablation_in1k'
            expected[stem] = {TOP1: tables['ablation_rest_lite_top1'][table][row]}
    assert FIGURES == expected


def test_printed_parameters_equal_those_of_the_recipes():
    recipes = pytest.importorskip('helpers.recipes')
    assert {name: figures[PARAMS] for name, figures in FIGURES.items() if PARAMS in figures} == recipes.PARAMS


@pytest.mark.parametrize('page, column', [('docs/checkpoints.md', 1), ('docs/ablations.md', 2)])
def test_figures_on_docs_pages_equal_the_papers(repo, page, column):
    found = 0
    for line in (repo / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        stem = cells[column].strip('`').removesuffix('_3rdparty') if len(cells) == 4 else ''
        if stem.endswith(('_in1k', '_coco', '_ade20k')):
            found += 1
            stated = [float(number) for number in re.findall(r'\d+\.\d+', cells[3])]
            main = [value for name, value in printed_figures(stem).items() if name in ('box AP', 'mask AP', MIOU, TOP1)]
            assert stated == main, stem
    assert found == (22 if 'checkpoints' in page else 12)


@pytest.mark.parametrize(
    'name, recipe',
    [
        ('rest_lite_8xb256_in1k', 'rest_lite_8xb256_in1k'),
        ('rest_lite_224_in1k_3rdparty', 'rest_lite_8xb256_in1k'),
        ('restv2_tiny_384_in1k_3rdparty', 'restv2_tiny_384_in1k'),
        ('retinanet_rest_lite_fpn_shapes', None),
    ],
)
def test_printed_figures_of_a_config_are_those_of_its_recipe(name, recipe):
    assert printed_figures(name) == FIGURES.get(recipe, {})
