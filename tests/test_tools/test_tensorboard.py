"""tools/train.py --tensorboard: scalars and painted validation images can be read back."""

import importlib.util
import re
import sys

import pytest
from conftest import run_process

from mmrest.engine import UsageError, load_config, prepare_train

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')

CONFIG = """
_base_ = '{base}'
train_dataloader = dict(batch_size=5, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=9))
"""


def test_scalars_and_images(repo, configs, shapes, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / 'small.py').write_text(CONFIG.format(base=configs['ResT']))
    run_process(
        [
            sys.executable,
            repo / 'tools/train.py',
            'small.py',
            '--tensorboard',
            '--work-dir',
            'run',
            '--cfg-options',
            f'data_root={shapes}',
        ],
        tmp_path,
    )
    (folder,) = (tmp_path / 'run').glob('*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    scalars = events.Tags()['scalars']
    assert {'loss', 'lr', 'coco/bbox_mAP'} <= set(scalars)
    assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]
    # The same images at every validation: after 2 and after 4 iterations.
    assert set(events.Tags()['images']) == {f'val/image_{i}' for i in range(1, 5)}
    for tag in events.Tags()['images']:
        images = events.Images(tag)
        assert [image.step for image in images] == [2, 4] and {image.width for image in images} == {512}
    assert list(folder.glob('*.json')) and 'Paint' not in (tmp_path / 'run/small.py').read_text()


def test_what_the_config_has_stays(configs, shapes):
    cfg = load_config(str(configs['ResT']), dict(data_root=str(shapes)))
    for _ in range(2):
        prepare_train(cfg, tensorboard=True)
        assert [backend.type for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend', 'TensorboardVisBackend']
    cfg.pop('visualizer')
    prepare_train(cfg, tensorboard=True)
    assert cfg.visualizer.type == 'Visualizer' and len(cfg.visualizer.vis_backends) == 2
    plain = prepare_train(load_config(str(configs['ResT']), dict(data_root=str(shapes))))
    assert len(plain.visualizer.vis_backends) == 1


def test_missing_package_is_named(configs, shapes, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'tensorboard' else find(name))
    with pytest.raises(UsageError, match=re.escape('--tensorboard needs the package tensorboard')):
        prepare_train(load_config(str(configs['ResT']), dict(data_root=str(shapes))), tensorboard=True)
