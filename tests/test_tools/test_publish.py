"""Weights of a training for other people: published, tested, shown, and trained from."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY, forget_runs, load_safely
from helpers.compare import assert_equal
from helpers.hub_cache import fill_cache
from helpers.painted import listed

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')
pytest.importorskip('safetensors')

from helpers.small_runs import train, write_config  # noqa: E402

from mmrest import ResT  # noqa: E402
from mmrest.apis import init_model  # noqa: E402
from mmrest.checkpoints import load_file  # noqa: E402
from mmrest.converters import publish  # noqa: E402

MORE = """
train_cfg = dict(max_epochs=1, val_begin=1)
visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture(scope='module')
def trained(repo, shapes, tmp_path_factory):
    """The config and the work dir of a detector with averaged weights, trained for an epoch and validated."""
    folder = tmp_path_factory.mktemp('trained')
    hook = "dict(type='EMAHook', momentum=0.5)"
    config = write_config(folder, 'epochs', repo, shapes, hooks=hook, more=MORE)
    with pytest.MonkeyPatch.context() as patch:
        load_safely(patch)
        forget_runs(patch)
        train(config, folder / 'run', **{'train_dataloader.dataset.indices': 4})
    return config, folder / 'run'


@pytest.fixture(scope='module')
def checkpoint(trained):
    return trained[1] / 'epoch_1.pth'


@pytest.fixture
def published(run, checkpoint, tmp_path, capsys):
    run('publish', checkpoint, '--out', tmp_path / 'mine.safetensors')
    return tmp_path / 'mine.safetensors', capsys.readouterr().out


def find_metrics(folder) -> dict[str, float]:
    """Return the metrics in the only log below a folder that has any."""
    records = [
        json.loads(line) for path in folder.glob('*/vis_data/scalars.json') for line in path.read_text().splitlines()
    ]
    (found,) = ({key: value for key, value in record.items() if key.startswith('coco/')} for record in records[-1:])
    return found


def test_publish_file_tests_as_the_run_was_validated(run, own_process_state, trained, checkpoint, published, tmp_path):
    config, work_dir = trained
    path, printed = published
    run('test', config, path, '--work-dir', 'test')
    (log,) = (tmp_path / 'test').glob('*/*.json')
    metrics = find_metrics(work_dir)
    assert metrics['coco/bbox_mAP_50'] > 0
    assert {key: json.loads(log.read_text())[key] for key in metrics} == metrics
    assert load_file(path)['meta']['metrics'] == metrics
    tensors = load_file(checkpoint)['state_dict']
    assert_equal(dict(load_file(path)['state_dict']), dict(tensors))
    for line in (
        'weights: averaged by EMAHook',
        'left out: message_hub, optimizer, param_schedulers, ema_state_dict',
        'classes: disc, square, triangle, star',
        'removed from it: experiment_name, work_dir',
        f'metrics of epoch 1: coco/bbox_mAP {metrics["coco/bbox_mAP"]:g}',
        f'written to {path}',
    ):
        assert line in printed
    assert str(work_dir).encode() not in path.read_bytes()


def test_publish_file_shows_the_classes_of_the_training(run, own_process_state, trained, published, shapes, tmp_path):
    """Also with a config of other classes, and in mmdet's own inferencer."""
    from mmdet.apis import init_detector

    other = tmp_path / 'other.py'
    names = ('one', 'two', 'three', 'four')
    other.write_text(f"_base_ = '{trained[0]}'\ntest_dataloader = dict(dataset=dict(metainfo=dict(classes={names})))\n")
    expected = ('disc', 'square', 'triangle', 'star')
    assert init_model(trained[0], str(published[0])).class_names == expected
    assert init_model(str(other), str(published[0])).class_names == expected
    assert init_model(str(other), 'none').class_names == names
    assert tuple(init_detector(trained[0], str(published[0]), device='cpu').dataset_meta['classes']) == expected
    run('demo', shapes / 'images/val/000000.png', other, published[0], '--out-dir', 'out')
    assert listed(tmp_path / 'out') == ['000000.png']


def test_publish_file_initializes_a_backbone(checkpoint, published):
    arch = dict(TINY, depths=(1, 1, 2, 1))
    model = ResT(arch, out_indices=(1, 2, 3), init_cfg=dict(type='Pretrained', checkpoint=str(published[0])))
    model.init_weights()
    saved = load_file(checkpoint)['state_dict']
    differing = [key for key, value in model.state_dict().items() if not torch.equal(value, saved[f'backbone.{key}'])]
    assert differing == []


def test_publish_file_cannot_be_resumed_but_trained_from(run, own_process_state, trained, published, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run('train', trained[0], '--work-dir', 'run', '--resume', published[0])
    assert stopped.value.code == 2
    assert f'{published[0]} holds no state that training can be resumed from' in capsys.readouterr().err
    losses = train(
        trained[0], tmp_path / 'tuned', **{'load_from': str(published[0]), 'train_dataloader.dataset.indices': 2}
    )
    assert len(losses) == 1


NAME = 'hf://owner/name/sub/mine.safetensors'
ONE_BATCH = {'train_cfg.max_epochs': 1, 'train_cfg.val_begin': 9, 'train_dataloader.dataset.indices': 2}
INIT_CFG = {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint=NAME)}
# How each takes the file, and what it writes.
DOORS = {
    'load_from': (lambda run, config, _: train(config, Path('run'), load_from=NAME, **ONE_BATCH), 'run/epoch_1.pth'),
    'init_cfg': (lambda run, config, _: train(config, Path('run'), **INIT_CFG, **ONE_BATCH), 'run/epoch_1.pth'),
    'test': (lambda run, config, _: run('test', config, NAME, '--out', 'found.pkl'), 'found.pkl'),
    'demo': (lambda run, config, image: run('demo', image, config, NAME), 'outputs/000000.png'),
    'convert': (lambda run, config, _: run('convert_checkpoint', NAME, 'a.pth', '--to', 'backbone'), 'a.pth'),
    'publish': (lambda run, config, _: run('publish', NAME), 'mine.safetensors'),
}


@pytest.mark.parametrize('door', DOORS)
def test_published_file_of_the_hub_is_taken(
    run, own_process_state, offline_hub, trained, checkpoint, shapes, tmp_path, monkeypatch, door
):
    call, written = DOORS[door]
    fill_cache(tmp_path / 'cache', **{'mine.safetensors': lambda path: publish(str(checkpoint), path)})
    monkeypatch.chdir(tmp_path)
    call(run, trained[0], shapes / 'images/val/000000.png')
    assert (tmp_path / written).stat().st_size > 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['none.pth'], 'There is no checkpoint file none.pth'),
        (['{checkpoint}', 'none.py'], 'There is no config none.py'),
        (['{checkpoint}', '--out', 'a.onnx'], 'a.onnx must end in .safetensors or .pth'),
        (['{checkpoint}', '--out', 'none/a.pth'], 'no such folder'),
        (['hf://owner/name'], 'does not name a file on the Hugging Face Hub'),
    ],
)
def test_publish_wrong_argument_is_one_message(run, checkpoint, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run('publish', *(word.format(checkpoint=checkpoint) for word in arguments))
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.startswith('error: ') and message in error and error.count('\n') == 1
    assert list(tmp_path.iterdir()) == []
