"""The configs of docs/examples, copied out of the repository: two iterations, a prediction, and the inferencers."""

import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, TINY, need_mmpretrain, run_process
from helpers.docs_blocks import blocks_for
from helpers.small_projects import (
    CLASSES,
    DETECTORS,
    EXAMPLES,
    PALETTE,
    SEG_CLASSES,
    SMALL,
    copy_example,
    predict,
    small_config,
)
from mmengine.config import Config
from mmengine.runner import Runner

TROUBLESHOOTING = REPO / 'docs/troubleshooting.md'
LIBRARIES = {
    **dict.fromkeys(SMALL, ('mmseg',)),
    **dict.fromkeys(DETECTORS, ('mmdet',)),
    'mask2former': ('mmseg', 'mmdet'),
    'classification': ('mmpretrain',),
}


def test_docs_examples_all_have_a_test():
    of_pytorch = {'plain_pytorch', 'timm_features', 'torchvision_detection'}  # test_pytorch_examples.py
    assert {path.stem for path in EXAMPLES.glob('*.py')} == {*LIBRARIES, *of_pytorch}


@pytest.fixture(scope='module')
def train(shapes, tmp_path_factory):
    """A function that trains an example once and returns its runner."""
    runners = {}

    def train_once(name):
        for module in ('mmcv._ext', *LIBRARIES[name]):
            pytest.importorskip(module)
        if name not in runners:
            torch.manual_seed(0)
            runners[name] = Runner.from_cfg(small_config(name, tmp_path_factory.mktemp(name), shapes))
            runners[name].train()
        return runners[name]

    return train_once


def saved(runner: Runner) -> Path:
    """Return the checkpoint that a run ended with."""
    return Path((Path(runner.work_dir) / 'last_checkpoint').read_text())


def check_losses(runner: Runner) -> None:
    losses, counts = runner.message_hub.get_scalar('train/loss').data
    assert counts.sum() == 2
    assert [loss for loss in losses if not 0 < loss < np.inf] == []


@pytest.mark.parametrize('name', SMALL)
def test_example_trains_two_iterations_and_predicts(train, name):
    runner = train(name)
    check_losses(runner)
    assert runner.model.backbone.init_cfg.type == 'Pretrained' and runner.model.backbone.is_init
    results = predict(runner)
    assert len(results) == 2
    for result in results:
        if name in DETECTORS:
            found = result.pred_instances
            assert found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
            assert len(found) == 5 and found.labels.max() < len(CLASSES)
        else:
            assert result.pred_sem_seg.data.shape == (1, 64, 64) and result.pred_sem_seg.data.max() < len(SEG_CLASSES)
    checkpoint = torch.load(saved(runner), weights_only=True)  # as torch reads it anywhere, once mmrest is imported
    assert ('ema_state_dict' in checkpoint) == (name == 'rtmdet')  # the recipe's own EMAHook


def test_example_backbone_starts_from_the_pretrained_file(train):
    """Two steps move a weight by twice the learning rate at the most."""
    runner = train('faster_rcnn')
    start = torch.load(Path(runner.work_dir).parent / 'rest_small.pth', weights_only=True)['model']
    trained = runner.model.backbone.state_dict()
    moved = max(
        (trained[key] - value).abs().max()
        for key, value in start.items()
        if value.is_floating_point() and 'running' not in key
    )
    assert 0 < moved < 1e-3


def test_classification_example_trains_and_predicts(tmp_path):
    pytest.importorskip('mmcv._ext')
    need_mmpretrain()
    random = np.random.default_rng(0)
    for i in range(4):
        path = tmp_path / f'images/train/{"ab"[i % 2]}/{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 255, (70, 81, 3), dtype=np.uint8))
    cfg = Config.fromfile(copy_example('classification', tmp_path))
    data = {
        f'{phase}_dataloader.{key}': value
        for phase in ('train', 'test')
        for key, value in {
            'batch_size': 2,
            'num_workers': 0,
            'persistent_workers': False,
            'pin_memory': False,
            'dataset.data_root': str(tmp_path / 'images'),
            'dataset.split': 'train',
            'dataset.metainfo': dict(classes=('a', 'b')),
        }.items()
    }
    cfg.merge_from_dict(
        {
            **data,
            'model.backbone.arch': dict(TINY, _delete_=True),
            'model.head.in_channels': TINY['embed_dims'][-1],
            'model.head.num_classes': 2,
            'data_preprocessor.num_classes': 2,
            'train_cfg.max_epochs': 1,
            'val_cfg': None,
            'val_dataloader': None,
            'val_evaluator': None,
            'param_scheduler': [],
            'default_hooks.logger.interval': 1,
            'work_dir': str(tmp_path / 'run'),
            'launcher': 'none',
            'experiment_name': tmp_path.name,
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    check_losses(runner)
    for result in predict(runner):
        assert result.pred_score.shape == (2,) and result.pred_score.sum() == pytest.approx(1, abs=1e-4)


# In a process that starts without mmrest, as another project's does: first what fails there, then the page's blocks.
INFERENCE = """
import json
import sys
from mmdet.apis import DetInferencer

# The line that mmrest.mmcv_ops writes into mmcv imports mmrest.
said = dict(there='mmrest' in sys.modules)
try:
    DetInferencer(weights='work_dirs/faster_rcnn/epoch_12.pth', device='cpu')
except Exception as error:
    said['before the import'] = f'{{type(error).__name__}}: {{error}}'
{blocks}
said.update(boxes=len(found['bboxes']), det_classes=detector.model.dataset_meta['classes'], shape=labels.shape,
            seg_classes=segmentor.visualizer.dataset_meta['classes'],
            palette=segmentor.visualizer.dataset_meta['palette'],
            set_by_hand=len(segmentor.model.dataset_meta['classes']))
with open('said.json', 'w') as file:
    json.dump(said, file)
"""


@pytest.mark.matrix
def test_inferencers_in_another_folder_predict_from_trained_examples(train, shapes, tmp_path):
    """The blocks of docs/use_in_your_project.md work in a folder without the repository and the pretrained weights."""
    for name, file in (('faster_rcnn', 'epoch_12.pth'), ('upernet', 'iter_160000.pth')):
        runner = train(name)
        runner.cfg.dump(str(tmp_path / f'{name}.py'))
        (tmp_path / f'work_dirs/{name}').mkdir(parents=True)
        (tmp_path / f'work_dirs/{name}' / file).symlink_to(saved(runner))
    shutil.copy(shapes / 'images/val/000000.png', tmp_path / 'image.png')
    blocks = [
        block.text
        for block in blocks_for('tests/integration/test_examples.py', 'docs/use_in_your_project.md')
        if block.language == 'python'
    ]
    (tmp_path / 'infer.py').write_text(INFERENCE.format(blocks=''.join(blocks)))
    environment = {key: value for key, value in os.environ.items() if not key.startswith('TORCH_FORCE')}
    run_process([sys.executable, 'infer.py'], tmp_path, environment)
    said = json.loads((tmp_path / 'said.json').read_text())
    if said['there']:
        assert 'before the import' not in said
    else:
        for quoted in ('Weights only load failed', 'HistoryBuffer'):
            assert quoted in said['before the import'] and quoted in TROUBLESHOOTING.read_text(encoding='utf-8')
    assert said['boxes'] == 5 and tuple(said['det_classes']) == CLASSES
    assert said['shape'] == [64, 64] and tuple(said['seg_classes']) == SEG_CLASSES and said['palette'] == PALETTE
    assert said['set_by_hand'] == 150
    for written in ('det/vis/image.png', 'seg/vis/image.png'):
        assert (tmp_path / written).stat().st_size > 0


def test_segmentor_of_checkpoint_without_classes_takes_those_set_by_hand(train, shapes, tmp_path):
    """mmseg takes the classes of Cityscapes whatever the arguments; docs/use_in_your_project.md has the way out."""
    runner = train('upernet')
    from mmseg.apis import MMSegInferencer

    path = tmp_path / 'bare.pth'
    torch.save(dict(state_dict=runner.model.state_dict()), path)
    runner.cfg.dump(str(tmp_path / 'config.py'))
    with pytest.warns(UserWarning, match='Cityscapes'):
        segmentor = MMSegInferencer(
            str(tmp_path / 'config.py'), str(path), classes=list(SEG_CLASSES), palette=PALETTE, device='cpu'
        )
    image = str(shapes / 'images/val/000000.png')
    segmentor(image, return_vis=True)
    assert len(segmentor.visualizer.dataset_meta['classes']) == 19
    segmentor.model.dataset_meta = dict(classes=SEG_CLASSES, palette=PALETTE)
    segmentor(image, return_vis=True)
    assert segmentor.visualizer.dataset_meta['classes'] == SEG_CLASSES
