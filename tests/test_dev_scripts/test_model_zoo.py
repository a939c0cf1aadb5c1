"""The model index and the model zoo page: complete, made from the configs, and with the figures of the papers."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPO

from mmrest.analysis.papers import FIGURES, GMACS, MIOU, PARAMS, TOP1, printed_figures

if not (REPO / '.dev_scripts').is_dir():
    pytest.skip('the scripts for maintainers are not part of this copy', allow_module_level=True)
sys.path.insert(0, str(REPO / '.dev_scripts'))

from model_zoo.entries import MEASURED, config_files, describe  # noqa: E402
from model_zoo.pages import METAFILE, ZOO_PAGE, make_pages  # noqa: E402


@pytest.fixture(scope='module')
def index(repo) -> dict[str, dict]:
    """Models of the committed index, by config."""
    models = yaml.safe_load((repo / METAFILE).read_text())['Models']
    return {model['Config']: model for model in models}


def metrics(model: dict) -> dict[str, float]:
    return {name: value for result in model.get('Results', []) for name, value in result['Metrics'].items()}


def test_index_has_every_config_and_no_other(repo, index):
    configs = [path.relative_to(repo).as_posix() for path in config_files(repo)]
    assert list(index) == configs
    names = [model['Name'] for model in index.values()]
    assert len(set(names)) == len(names)
    on_page = re.findall(r'\[config\]\(\.\./(\S+)\)', (repo / ZOO_PAGE).read_text())
    assert sorted(on_page) == sorted(configs)


def test_index_is_in_the_format_of_openmmlab(repo, index):
    loaded = pytest.importorskip('modelindex.load_model_index').load(str(repo / 'model-index.yml'))
    loaded.build_models_with_collections()
    assert not loaded.check(silent=True)
    assert [model.name for model in loaded.models] == [model['Name'] for model in index.values()]
    assert {collection.name for collection in loaded.collections} == {'ResT', 'ResTv2'}
    # The collection's paper reaches the models; nobody could open a link to weights.
    assert all(model.full_model.paper['URL'].startswith('https://arxiv.org/abs/') for model in loaded.models)
    assert not [model.name for model in loaded.models if model.weights]


def test_figures_are_said_to_be_whose_they_are(index):
    assert set(FIGURES) <= {Path(path).stem.removesuffix('_3rdparty') for path in index}
    for path, model in index.items():
        stem = Path(path).stem
        expected = MEASURED.get(stem) or {
            key: value for key, value in printed_figures(stem).items() if key not in (PARAMS, GMACS)
        }
        assert metrics(model) == expected, stem
        whose = model['Metadata'].get('Figures', '')
        assert whose.startswith('measured by mmrest' if stem in MEASURED else 'printed by' if expected else ''), stem
        assert bool(whose) == bool(expected)


def test_figures_are_those_of_the_papers(external):
    """Each number of the reference is kept, and nothing else is."""
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


def test_figures_are_those_of_the_recipes_test(index):
    recipes = pytest.importorskip('helpers.recipes')
    assert {name: figures[PARAMS] for name, figures in FIGURES.items() if PARAMS in figures} == recipes.PARAMS
    for name, millions in recipes.PARAMS.items():
        counted = index[f'configs/{name}.py']['Metadata']['Parameters']
        assert counted / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize('page, column', [('docs/checkpoints.md', 1), ('docs/ablations.md', 2)])
def test_figures_of_other_pages_are_the_same(repo, page, column):
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


def test_demo_page_states_what_was_measured(repo):
    text = ' '.join((repo / 'docs/demo.md').read_text().split())
    boxes, masks, labels = (
        {metric: f'{value / 100:.3f}' if 'AP' in metric else str(value) for metric, value in MEASURED[name].items()}
        for name in (
            'retinanet_rest_lite_fpn_shapes',
            'mask_rcnn_rest_lite_fpn_shapes',
            'upernet_rest_lite_shapes',
        )
    )
    assert '| {} | {} | {} |'.format(*boxes.values()) in text
    assert f'box AP {masks["box AP"]}, mask AP {masks["mask AP"]}' in text
    assert f'mIoU {labels["mIoU"]}, with --tta {labels[MIOU]}' in text


def test_readme_states_the_figures_of_the_papers(repo, index):
    rows = [line.strip('|').split('|') for line in (repo / 'README.md').read_text().splitlines() if ' M |' in line]
    assert len(rows) == 8
    for name, params, top1, retinanet, mask_rcnn, upernet in ([cell.strip() for cell in row] for row in rows):
        model, arch = name.lower().split('-')
        schedule = '3x' if model == 'restv2' else '1x'
        classifier = f'{model}_{arch}_8xb256_in1k'
        assert top1 == str(printed_figures(classifier)[TOP1]), name
        counted = index[f'configs/{classifier}.py']['Metadata']['Parameters']
        assert params == f'{counted / 1e6:.1f} M', name
        boxes = printed_figures(f'retinanet_{model}_{arch}_fpn_1x_coco')
        assert retinanet == str(boxes.get('box AP', '')), name
        masks = printed_figures(f'mask_rcnn_{model}_{arch}_fpn_{schedule}_coco')
        expected = f'{masks["box AP"]} / {masks["mask AP"]} ({schedule})' if 'box AP' in masks else ''
        assert mask_rcnn == expected, name
        labels = printed_figures(f'upernet_{model}_{arch}_512x512_160k_ade20k')
        assert upernet == str(labels.get(MIOU, '')), name


@pytest.mark.parametrize(
    'name, params, giga', [('rest_small_8xb256_in1k', 13_679_708, 2.093), ('restv2_tiny_384_in1k', 30_434_776, 12.629)]
)
def test_entries_are_counted(repo, index, name, params, giga):
    """Of two classifiers, against the figures of docs/ablations.md."""
    pytest.importorskip('mmpretrain.version')
    path = repo / 'configs' / (f'published/{name}_3rdparty.py' if '384' in name else f'{name}.py')
    entry = describe(path, repo)
    assert entry.params == params and entry.macs / 1e9 == pytest.approx(giga, abs=5e-4)
    metadata = index[path.relative_to(repo).as_posix()]['Metadata']
    assert (metadata['Parameters'], metadata['FLOPs']) == (entry.params, entry.macs)


@pytest.mark.slow
def test_committed_files_are_what_is_made(repo):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    for name, text in make_pages(repo).items():
        assert (repo / name).read_text() == text, 'run python .dev_scripts/make_model_zoo.py'
