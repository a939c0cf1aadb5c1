"""Data with something wrong: training goes on as documented, or stops with one message that names the file."""

import json
import re
import runpy
import shutil
import sys
from copy import deepcopy

import numpy as np
import pytest
from conftest import run_process
from helpers.compare import find_non_finite
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmrest.datasets.validation import DataError, Report, building, dataset_errors, validate_dataset, with_coco_checks
from mmrest.datasets.validation.check import check_config
from mmrest.engine import exit_on_user_error

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

from helpers.faults import ANNOTATIONS, IMAGES, LABELS, image_of  # noqa: E402
from helpers.small_runs import build, stop_workers, write_config  # noqa: E402

DETECTION = {**IMAGES, **ANNOTATIONS}


@pytest.fixture
def damaged(shapes, tmp_path):
    """A copy of the data set, to be damaged."""
    return shutil.copytree(shapes, tmp_path / 'data')


@pytest.fixture
def config(repo, damaged, tmp_path):
    """Writes the config of a run on it."""
    return lambda kind, **options: write_config(tmp_path, kind, repo, damaged, **options)


@pytest.fixture(scope='module')
def read_configs(repo, tmp_path_factory):
    """The configs of both kinds, read once; data are where a test puts them."""
    folder = tmp_path_factory.mktemp('configs')
    return {kind: Config.fromfile(write_config(folder, kind, repo, 'data')) for kind in ('epochs', 'iterations')}


@pytest.fixture
def load_samples(read_configs, damaged):
    """All samples of a config's dataset, as a run loads them."""

    def load(kind, phase='train', serialize=False):
        init_default_scope(read_configs[kind].default_scope)
        config = dict(
            deepcopy(read_configs[kind][f'{phase}_dataloader'].dataset),
            data_root=str(damaged),
            serialize_data=serialize,
        )  # which collects garbage each time, and this takes a while
        with dataset_errors([config]):
            dataset = DATASETS.build(with_coco_checks(config))
        validate_dataset(dataset)
        return [dataset[index] for index in range(len(dataset))]

    return load


@pytest.fixture
def found(read_configs, damaged):
    """A function that returns the report of the check on a config's dataset."""

    def check(kind, phase='train'):
        report = Report()
        cfg = deepcopy(read_configs[kind])
        cfg[f'{phase}_dataloader'].dataset.update(data_root=str(damaged), serialize_data=False)
        check_config(cfg, [phase], report)
        return report

    return check


@pytest.fixture
def try_fault(load_samples, found, damaged, tally):
    def attempt(kind, fault):
        fault.damage(damaged)
        if fault.says:
            with pytest.raises(DataError, match=fault.says):
                load_samples(kind, serialize='No image' in fault.says)
        else:
            assert load_samples(kind)
        report = found(kind)
        # Where nothing is left to train on, each image that is left out is a warning.
        serious = fault.says and not fault.found.startswith('image without objects')
        assert fault.found in (report.errors if serious else report.warnings), str(report)
        assert bool(report.errors) == bool(serious), str(report)
        tally('faults of data tried, in training and in the check')

    return attempt


def test_samples_of_good_data_load_without_errors(load_samples, found):
    for kind in ('epochs', 'iterations'):
        for phase, number in (('train', 9 if kind == 'epochs' else 10), ('val', 4)):
            assert len(load_samples(kind, phase)) == number  # a detector is not trained on images without objects
            assert not found(kind, phase).errors


@pytest.mark.parametrize('name', DETECTION)
def test_detection_data_fault_is_handled_or_named(try_fault, name):
    try_fault('epochs', DETECTION[name])


@pytest.mark.parametrize('name', LABELS)
def test_label_map_fault_is_handled_or_named(try_fault, name):
    try_fault('iterations', LABELS[name])


@pytest.mark.parametrize(
    'change, fault',
    [
        (lambda annotation: annotation.pop('iscrowd'), 'iscrowd is missing or null'),
        (lambda annotation: annotation.update(iscrowd=None), 'iscrowd is missing or null'),
        (lambda annotation: annotation.update(id=0), 'annotation id 0'),
    ],
)
def test_annotation_fault_of_evaluation_passes_training_and_stops_evaluation(
    load_samples, found, damaged, change, fault
):
    """Training ignores such a fault; before an evaluation it is named."""
    for phase in ('train', 'val'):
        path = damaged / f'annotations/instances_{phase}.json'
        content = json.loads(path.read_text())
        change(content['annotations'][0])
        path.write_text(json.dumps(content))
    assert load_samples('epochs', 'train') and not found('epochs', 'train').errors
    with pytest.raises(DataError, match=fault):
        load_samples('epochs', 'val')
    assert fault in found('epochs', 'val').errors


def test_annotation_whole_numbers_as_floats_are_accepted(load_samples, found, damaged):
    for phase in ('train', 'val'):
        path = damaged / f'annotations/instances_{phase}.json'
        content = json.loads(path.read_text())
        for image in content['images']:
            image.update(width=float(image['width']), height=float(image['height']), id=float(image['id']))
        for annotation in content['annotations']:
            annotation.update(category_id=float(annotation['category_id']))
        path.write_text(json.dumps(content))
        assert load_samples('epochs', phase) and not found('epochs', phase).errors


HANDLED = [name for name, fault in DETECTION.items() if not fault.says]


@pytest.mark.usefixtures('own_process_state')
def test_training_with_all_handled_faults_gives_finite_losses(config, damaged, tally):
    """The faults that do not stop a run, all in one data set; the images of the odd kinds are others each time."""
    for name in HANDLED:
        DETECTION[name].damage(damaged)
        for path in [image_of(damaged)]:
            path.rename(path.with_name(f'{name}{path.suffix}'))
            annotations = damaged / 'annotations/instances_train.json'
            annotations.write_text(annotations.read_text().replace(f'"{path.name}"', f'"{name}{path.suffix}"'))
    runner = build(config('epochs'), damaged / 'run', **{'train_cfg.max_epochs': 1})
    losses = []
    runner.model.register_forward_hook(lambda module, args, out: losses.extend(out['loss_cls']))
    runner.train()
    assert len(losses) > 3 and find_non_finite(losses) == []
    tally('faults of data trained with', len(HANDLED))


def test_training_broken_image_in_a_worker_ends_in_one_message(config, damaged, capsys, own_process_state):
    """The file is named once, and there is no traceback."""
    IMAGES['text'].damage(damaged)
    runner = build(config('epochs', workers=2), damaged / 'run')
    with pytest.raises(SystemExit) as status, exit_on_user_error():
        runner.train()
    stop_workers(runner)
    message = [line for line in capsys.readouterr().err.splitlines() if 'error: ' in line][-1]
    assert status.value.code == 2 and re.match(
        rf'error: {image_of(damaged)} cannot be loaded: it is not an image', message
    )
    assert 'Traceback' not in message and 'mmrest check CONFIG' in message


@pytest.mark.parametrize('workers', [0, 2])
def test_training_switched_pipeline_names_the_broken_image(config, damaged, own_process_state, workers):
    runner = build(config('epochs', workers=workers), damaged / 'run')
    runner.register_hook(
        dict(
            type='mmdet.PipelineSwitchHook',
            switch_epoch=1,
            switch_pipeline=runner.cfg.train_dataloader.dataset.pipeline,
        )
    )

    class Damage(Hook):
        def after_train_epoch(self, runner):
            IMAGES['text'].damage(damaged)

    runner.register_hook(Damage())
    with pytest.raises(DataError, match=f'{image_of(damaged)} cannot be loaded: it is not an image'):
        runner.train()
    stop_workers(runner)
    assert runner.epoch == 1


def test_validation_broken_image_is_named(config, damaged, own_process_state):
    image = sorted((damaged / 'images/val').iterdir())[1]
    image.write_bytes(image.read_bytes()[:-100])
    runner = build(config('iterations'), damaged / 'run')
    with pytest.raises(DataError, match=f'{image} cannot be decoded'):
        runner.val()


def test_pipeline_error_in_a_transform_keeps_its_cause(read_configs, damaged):
    """A mistake in a transform is no fault of the data, and keeps its traceback."""
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(deepcopy(read_configs['epochs'].train_dataloader.dataset), data_root=str(damaged)))

    def broken(data):
        raise ZeroDivisionError('oh')

    dataset.pipeline.transforms.insert(2, broken)
    validate_dataset(dataset)
    with pytest.raises(RuntimeError, match=r'function failed on .*png: ZeroDivisionError: oh') as error:
        dataset[0]
    assert not isinstance(error.value, DataError) and isinstance(error.value.__cause__, ZeroDivisionError)


def test_annotations_larger_than_memory_are_refused(load_samples, found, monkeypatch):
    from mmrest.datasets.validation import reading

    monkeypatch.setattr(reading, '_free_memory', lambda: 1000)
    with pytest.raises(DataError, match='would not fit'):
        load_samples('epochs')
    assert 'annotation file cannot be read' in found('epochs').errors


@pytest.mark.usefixtures('own_process_state')
def test_check_dataset_tool_prints_faults_and_writes_json(repo, config, damaged, monkeypatch, capsys):
    """Counts and examples, a progress bar, JSON, and the exit status."""
    IMAGES['empty_image'].damage(damaged)
    ANNOTATIONS['box_outside'].damage(damaged)
    result = damaged / 'found.json'
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', config('epochs'), '--out', str(result)])
    with pytest.raises(SystemExit) as status:
        runpy.run_path(str(repo / 'tools/check_dataset.py'), run_name='__main__')
    assert status.value.code == 1
    out = ''.join(capsys.readouterr())
    assert f'error: image cannot be read (1)\n    {image_of(damaged)} is empty' in out
    assert 'warning: box outside the image (skipped) (1)' in out
    assert '13 images read' in out, 'what is tested is what is validated with'
    assert json.loads(result.read_text())['errors']['image cannot be read']['count'] == 1


@pytest.mark.reliability
def test_check_dataset_tool_folders_and_mistakes_set_the_exit_status(repo, damaged, tmp_path):
    tool = [sys.executable, repo / 'tools/check_dataset.py']
    folders = [damaged / 'images/val', damaged / 'labels/val']
    assert '0 errors' in run_process([*tool, '--label-maps', *folders, '--num-classes', 5], tmp_path)
    assert 'label map with invalid labels' in run_process(
        [*tool, '--label-maps', *folders, '--num-classes', 2], tmp_path, status=1
    )
    shifted = tmp_path / 'shifted'
    shutil.copytree(folders[1], shifted)
    for path in shifted.iterdir():  # 0 is not labelled, classes begin at 1
        Image.fromarray(np.asarray(Image.open(path)) + 1).save(path)
    shifted = ['--label-maps', folders[0], shifted, '--num-classes', 5]
    assert '0 errors' in run_process([*tool, *shifted, '--reduce-zero-label'], tmp_path)
    assert 'label map with invalid labels' in run_process([*tool, *shifted], tmp_path, status=1)
    out = run_process([*tool, '--coco', damaged / 'annotations/instances_val.json', folders[0]], tmp_path)
    assert '0 errors' in out and 'warning: image without objects' in out
    for wrong, message in [
        ([], 'give one of'),
        (['--label-maps', *folders], 'needs --num-classes'),
        (['a.py', '--reduce-zero-label'], 'goes with --label-maps'),
        (['nothere.py'], 'error: There is no config nothere.py'),
    ]:
        out = run_process([*tool, *wrong], tmp_path, status=2)
        assert message in out and 'Traceback' not in out


@pytest.mark.parametrize('suffix', ['.jpg', '.PNG', '.jpeg'])
def test_images_with_another_suffix_are_reported(load_samples, found, damaged, suffix, monkeypatch):
    """mmseg takes one suffix and leaves out the others without a word."""
    said = []
    monkeypatch.setattr(building, 'print_log', lambda text, **options: said.append(text))
    images = sorted((damaged / 'images/train').iterdir())
    for path in images[:4]:
        path.rename(path.with_suffix(suffix))
    assert len(load_samples('iterations')) == 6
    (text,) = said
    assert text.startswith(f'4 images, such as {images[0].with_suffix(suffix)}, are skipped')
    report = found('iterations')
    assert report.warnings['image whose name does not end with .png (skipped)']['count'] == 4
    assert not load_samples('iterations', 'val') == [] and len(said) == 1
