"""The model index and the model zoo page: completeness, and the figures of the papers."""

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
    """Models of the committed index by the path of their config."""
    models = yaml.safe_load((repo / METAFILE).read_text())['Models']
    return {model['Config']: model for model in models}


def metrics(model: dict) -> dict[str, float]:
    return {name: value for result in model.get('Results', []) for name, value in result['Metrics'].items()}


def test_index_and_page_have_every_config_and_no_other(repo, index):
    configs = [path.relative_to(repo).as_posix() for path in config_files(repo)]
    assert list(index) == configs
    names = [model['Name'] for model in index.values()]
    assert len(set(names)) == len(names)
    on_page = re.findall(r'\[config\]\(\.\./(\S+)\)', (repo / ZOO_PAGE).read_text())
    assert sorted(on_page) == sorted(configs)


def test_index_is_read_by_openmmlabs_loader(repo, index):
    loaded = pytest.importorskip('modelindex.load_model_index').load(str(repo / 'model-index.yml'))
    loaded.build_models_with_collections()
    assert not loaded.check(silent=True)
    assert [model.name for model in loaded.models] == [model['Name'] for model in index.values()]
    assert {collection.name for collection in loaded.collections} == {'ResT', 'ResTv2'}
    # The collection's paper reaches the models; nobody could open a link to weights.
    links = {model.name: model.full_model.paper['URL'] for model in loaded.models}
    assert {name: url for name, url in links.items() if not url.startswith('https://arxiv.org/abs/')} == {}
    assert [model.name for model in loaded.models if model.weights] == []


def test_index_figures_name_their_source(index):
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


@pytest.mark.parametrize('name', [name for name, figures in FIGURES.items() if PARAMS in figures])
def test_index_parameters_agree_with_the_papers(index, name):
    counted = index[f'configs/{name}.py']['Metadata']['Parameters']
    assert counted / 1e6 == pytest.approx(FIGURES[name][PARAMS], abs=0.1)


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
def test_index_entry_has_counted_parameters_and_operations(repo, index, name, params, giga):
    """The figures of two classifiers equal those of docs/ablations.md."""
    pytest.importorskip('mmpretrain.version')
    path = repo / 'configs' / (f'published/{name}_3rdparty.py' if '384' in name else f'{name}.py')
    entry = describe(path, repo)
    assert entry.params == params and entry.macs / 1e9 == pytest.approx(giga, abs=5e-4)
    metadata = index[path.relative_to(repo).as_posix()]['Metadata']
    assert (metadata['Parameters'], metadata['FLOPs']) == (entry.params, entry.macs)


@pytest.mark.slow
def test_committed_pages_are_up_to_date(repo):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    for name, text in make_pages(repo).items():
        assert (repo / name).read_text() == text, 'run python .dev_scripts/make_model_zoo.py'
