"""Annotations of evaluators beside those of their datasets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from mmengine.config import Config

from mmrest.datasets.validation import Report, find_wrong_evaluators
from mmrest.datasets.validation.check import check_config
from mmrest.engine import UsageError, load_config, prepare_test, prepare_train

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')


@pytest.fixture
def data(shapes, tmp_path):
    return shutil.copytree(shapes, tmp_path / 'data')


def config(data, evaluator, phase='val', dataset=None):
    dataset = dataset or dict(type='CocoDataset', data_root=f'{data}/', ann_file='annotations/instances_val.json')
    return Config(
        {'default_scope': 'mmdet', f'{phase}_dataloader': dict(dataset=dataset), f'{phase}_evaluator': evaluator}
    )


def metric(path):
    return dict(type='CocoMetric', ann_file=str(path))


def rewrite(data, name, change=lambda content: None):
    """Write the validation annotations to another file, with other bytes."""
    content = json.loads((data / 'annotations/instances_val.json').read_text())
    change(content)
    path = data / f'annotations/{name}.json'
    path.write_text(json.dumps(content, indent=1))
    return path


@pytest.mark.parametrize('phase', ['val', 'test'])
@pytest.mark.parametrize(
    'wrap',
    [
        lambda wrong, right: wrong,
        lambda wrong, right: [right, wrong],
        lambda wrong, right: dict(type='Evaluator', metrics=[dict(type='DumpResults'), wrong]),
    ],
)
def test_evaluator_with_another_file_is_found(data, phase, wrap):
    right, wrong = (data / f'annotations/instances_{split}.json' for split in ('val', 'train'))
    (text,) = find_wrong_evaluators(config(data, wrap(metric(wrong), metric(right)), phase), [phase])
    assert f'{phase}_evaluator (CocoMetric) compares with {wrong}' in text and f'are those of {right}: set ' in text
    assert not find_wrong_evaluators(config(data, wrap(metric(right), metric(right)), phase), [phase])


@pytest.mark.parametrize(
    'change',
    [
        lambda content: content['images'].pop(),
        lambda content: [
            image.update(file_name=f'other{image["id"]}.png') for image in content['images']
        ],  # the same ids
        lambda content: [image.update(id=image['id'] + 1000) for image in content['images']],
    ],
)
def test_evaluator_with_other_images_is_found(data, change):
    assert find_wrong_evaluators(config(data, metric(rewrite(data, 'other', change))), ['val'])


def test_evaluator_with_the_same_images_elsewhere_passes(data, tmp_path, monkeypatch):
    file = data / 'annotations/instances_val.json'
    (tmp_path / 'link.json').symlink_to(file)
    shutil.copy(file, tmp_path / 'copy.json')
    monkeypatch.chdir(tmp_path)

    def in_folders(content):
        for image in content['images']:
            image.update(file_name=f'x/{image["file_name"]}')

    for path in (
        tmp_path / 'link.json',
        tmp_path / 'copy.json',
        os.path.relpath(file),
        rewrite(data, 'spaces'),
        rewrite(data, 'fewer', lambda content: content['annotations'].pop()),
        rewrite(data, 'folders', in_folders),
    ):
        assert not find_wrong_evaluators(config(data, metric(path)), ['val']), path


@pytest.mark.parametrize(
    'evaluator',
    [
        None,
        dict(type='CocoMetric'),
        dict(type='CocoMetric', ann_file=None),
        dict(type='IoUMetric'),
        dict(type='CocoMetric', ann_file='s3://there/a.json'),
        dict(type='CocoMetric', ann_file='not/there.json'),
    ],
)
def test_evaluator_without_local_annotations_passes(data, evaluator):
    assert not find_wrong_evaluators(config(data, evaluator), ['val'])


def test_evaluator_of_several_datasets_has_the_images_of_each(data):
    """One metric for all has the images of all; one for each has those of its own."""
    one, two = (
        dict(type='CocoDataset', data_root=f'{data}/', ann_file=f'annotations/instances_{split}.json')
        for split in ('val', 'train')
    )
    both = dict(type='ConcatDataset', datasets=[one, two])
    files = [data / one['ann_file'], data / two['ann_file']]

    def merge(content):
        content['images'] += json.loads(files[1].read_text())['images']

    merged = metric(rewrite(data, 'merged', merge))
    assert not find_wrong_evaluators(config(data, merged, dataset=both), ['val'])
    assert find_wrong_evaluators(config(data, metric(files[0]), dataset=both), ['val'])
    each = dict(type='MultiDatasetsEvaluator', metrics=[metric(file) for file in files], dataset_prefixes=['a', 'b'])
    assert not find_wrong_evaluators(config(data, each, dataset=both), ['val'])


def test_wrong_evaluator_is_refused_by_prepare_and_reported_by_check(repo, data, tmp_path):
    path = repo / 'configs/retinanet_rest_lite_fpn_shapes.py'
    wrong = str(data / 'annotations/instances_train.json')
    options = {'data_root': f'{data}/', 'val_evaluator.ann_file': wrong, 'test_evaluator.ann_file': wrong}
    cfg = load_config(str(path), options, str(tmp_path / 'run'))
    with pytest.raises(UsageError, match=f'compares with {wrong}.*instances_val.json.*\n.*check_samples') as error:
        prepare_train(cfg)
    assert str(error.value).count('check_samples') == 1
    (tmp_path / 'a.pth').write_bytes(b'')
    with pytest.raises(UsageError, match=f'test_evaluator .CocoMetric. compares with {wrong}'):
        prepare_test(load_config(str(path), options, str(tmp_path / 'run')), str(tmp_path / 'a.pth'))
    report = Report()
    check_config(cfg, ['val'], report)
    assert list(report.errors) == ['evaluator with annotations of another dataset']
    cfg.check_samples = False
    prepare_train(cfg)


def test_check_dataset_interrupted_prints_partial_report(repo, data, tmp_path):
    """No traceback is printed, neither here nor in worker processes."""
    arguments = ['check_dataset.py', '--coco', str(data / 'annotations/instances_val.json'), str(data / 'images/val')]
    code = f"""
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
sys.argv = {arguments}
from mmrest.datasets.validation import samples
samples._MIN_FOR_WORKERS = 0
load, parent = samples.load_sample, os.getpid()
def interrupt(dataset, index):
    if os.getpid() != parent and index == 0:
        os.killpg(0, signal.SIGINT)
    return load(dataset, index)
samples.load_sample = interrupt
runpy.run_path({str(repo / 'tools/check_dataset.py')!r}, run_name='__main__')
"""
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, start_new_session=True, timeout=60, cwd=tmp_path
    )
    assert result.returncode == 130 and 'Traceback' not in result.stderr, result.stderr[-2000:]
    assert 'Interrupted' in result.stdout and '4 images' in result.stdout
