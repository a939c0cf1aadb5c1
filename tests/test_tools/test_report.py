"""tools/test.py --report: the page agrees with what the evaluators print."""

import re

import pytest
import torch
from helpers.report_pages import ReportPage

from mmrest.datasets import CLASSES

pytest.importorskip('mmcv._ext')

STUB = """
_base_ = '{repo}/configs/{config}.py'
custom_imports = dict(imports=['mmrest', 'helpers.stub_models'], allow_failed_imports=False)
model = dict(_delete_=True, type='{model}', data_preprocessor=dict(type='{preprocessor}'))
test_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False)
experiment_name = '{name}'  # mmengine tells runs in one process apart by name and second
"""
KINDS = dict(
    bbox=('retinanet_rest_lite_fpn_shapes', 'StubDetector', 'DetDataPreprocessor'),
    segm=('mask_rcnn_rest_lite_fpn_shapes', 'StubDetector', 'DetDataPreprocessor'),
    seg=('upernet_rest_lite_shapes', 'StubSegmentor', 'SegDataPreProcessor'),
)


@pytest.fixture
def report(run, repo, shapes, tmp_path, own_process_state):
    """A function that tests a stub and returns the page and the log of the test."""

    def make(kind, more='', *options):
        pytest.importorskip('mmseg' if kind == 'seg' else 'mmdet')
        config, model, preprocessor = KINDS[kind]
        text = STUB.format(repo=repo, config=config, name=tmp_path.name, model=model, preprocessor=preprocessor)
        (tmp_path / 'stub.py').write_text(text + more)
        torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'stub.pth')
        run('test', 'stub.py', 'stub.pth', '--report', 'page', *options, '--cfg-options', f'data_root={shapes}')
        (log,) = (tmp_path / 'work_dirs').glob('**/*.log')
        return ReportPage(tmp_path / 'page/index.html'), log.read_text()

    return make


def class_tables(log):
    """The tables of classes that an evaluator logs, as lists of rows."""
    tables = [[]]
    for line in log.splitlines():
        if line.startswith('|'):
            tables[-1].append([cell.strip() for cell in line.strip('|').split('|')])
        elif tables[-1] and not line.startswith('+'):
            tables.append([])
    return [table for table in tables if table]


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_report_of_a_detector_agrees_with_its_evaluator(report, capsys, kind):
    page, log = report(kind)
    assert 'Report: page/index.html' in capsys.readouterr().out
    (logged,) = re.findall(r'Epoch\(test\).*', log)
    for name in ['bbox', 'segm'][: 1 + (kind == 'segm')]:
        value = re.search(rf'coco/{name}_mAP: (\S+)', logged)[1]
        assert float(page.cards[f'coco/{name}_mAP']) == float(value) and 0 < float(value) < 1
    for column, (_, *rows) in zip(('box AP', 'mask AP'), class_tables(log), strict=False):
        expected = {row[0]: f'{float(row[1]):.3f}'.replace('nan', '–') for row in rows}
        assert page.column('classes', column) == expected and set(expected) == set(CLASSES)
    # The stub misses the first object of each image, mistakes the second, and finds one too many.
    assert page.tables['confusion'][0][-1] == 'missed' and page.tables['confusion'][-1][:2] == ['no object', '4']
    assert page.notes[0].startswith('Demo data: the images are drawn shapes')
    images = [alt for alt, _ in page.pictures]
    assert len(images) == 16 and images[0].startswith(
        'annotations of images/val/'
    )  # four bad ones, and all as examples
    assert 'StubDetector' not in ' '.join(page.texts) and {'stub.py', 'stub.pth'} <= set(page.texts)


def test_report_of_a_segmentor_agrees_with_its_evaluator(report):
    """One class has a name that is markup."""
    names = ('background', '<script>', 'square', 'triangle', 'star')
    page, log = report('seg', f'test_dataloader["dataset"] = dict(metainfo=dict(classes={names}))')
    ((_, *rows),) = class_tables(log)
    for column, place in (('IoU, %', 1), ('accuracy, %', 2)):
        assert page.column('classes', column) == {
            row[0]: f'{float(row[place]):.2f}'.replace('nan', '–') for row in rows
        }
    assert '<script>' in page.column('classes', 'IoU, %') and 'script' not in page.tags
    (logged,) = re.findall(r'Iter\(test\).*', log)
    for name, text in page.cards.items():
        assert float(text) == pytest.approx(float(re.search(rf'\b{name}: (\S+)', logged)[1]), abs=1e-9)
    assert set(page.cards) == {'aAcc', 'mIoU', 'mAcc'}
    assert len(page.pictures) == 14  # of four examples, and of the three that show an object
    # The worst image comes first.
    ious = [float(value) for value in re.findall(r'mIoU ([\d.]+),', ' '.join(page.texts))][:3]
    assert ious == sorted(ious)


def test_report_of_a_detector_with_the_metric_of_voc(report):
    page, log = report('bbox', "test_evaluator = dict(_delete_=True, type='VOCMetric')")
    assert set(page.cards) == {'pascal_voc/mAP', 'pascal_voc/AP50'} and 'box AP' not in page.tables['classes'][0]
    assert 'found, %' in page.tables['classes'][0] and len(page.pictures) == 16


def test_report_without_annotations_to_compare_with(report, tmp_path):
    settings = f"test_evaluator = dict(format_only=True, outfile_prefix='{tmp_path}/results')"
    page, _ = report('bbox', settings)
    assert 'only formats results' in page.notes[1] and page.tables == {} and page.cards == {}
    assert [alt.split()[0] for alt, _ in page.pictures] == ['predictions'] * 4


@pytest.mark.parametrize(
    'target, message', [('file', 'is not a writable folder'), ('folder', 'index.html is a folder')]
)
def test_report_to_a_wrong_target_is_refused_first(run, tmp_path, own_process_state, capsys, target, message):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'folder/index.html').mkdir(parents=True)
    with pytest.raises(SystemExit) as exit_status:
        run('test', 'none.py', 'none.pth', '--report', target)
    error = capsys.readouterr().err
    assert exit_status.value.code == 2 and re.match(f'error: --report .*{message}', error) and error.count('\n') == 1
