"""The configs and commands of docs/train_on_your_data.md, on drawn images."""

import shlex

import cv2
import numpy as np
import pytest
import torch
from conftest import REPO, TINY, is_distributed
from helpers.docs_blocks import blocks_for, read_blocks
from helpers.small_projects import CLASSES, DIMS, SEG_CLASSES, SMALL, copy_example
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner

from mmrest.__main__ import main
from mmrest.engine import check_data, load_config

PAGE = 'docs/train_on_your_data.md'
BLOCKS = blocks_for('tests/integration/test_own_data.py', PAGE)
CONFIGS = {block.text.split('\n')[0].removeprefix('# '): block for block in BLOCKS if block.language == 'python'}
COMMANDS = [block.text.replace('\\\n', ' ') for block in BLOCKS if block.language == 'bash']


@pytest.fixture
def project(shapes, tmp_path, monkeypatch):
    """A folder with copies of the examples, the page's configs, and data/mine."""
    pytest.importorskip('mmcv._ext')
    pytest.importorskip('mmdet.utils').register_all_modules(False)
    pytest.importorskip('mmseg.utils').register_all_modules(False)
    for name in ('retinanet', 'upernet'):
        copy_example(name, tmp_path)
    for name, block in CONFIGS.items():
        (tmp_path / name).write_text(block.text)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/mine').symlink_to(shapes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(name: str, project) -> Config:
    """A config of the page with the backbone and heads of the tests and images of 64x64."""
    cfg = Config.fromfile(name)
    detects = cfg.default_scope == 'mmdet'
    options = {
        **SMALL['retinanet' if detects else 'upernet'],
        'model.backbone.arch': dict(TINY, _delete_=True),
        f'model.{"neck" if detects else "decode_head"}.in_channels': DIMS[1:] if detects else DIMS,
        'work_dir': 'run',
        'launcher': 'none',
        'experiment_name': f'{project.name}-{name}',
        'default_hooks.logger.interval': 1,
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
    }
    options = {key: value for key, value in options.items() if not key.endswith('num_classes')}  # the page says that
    for phase in ('train', 'test'):
        options.update(
            {
                f'{phase}_dataloader.num_workers': 0,
                f'{phase}_dataloader.persistent_workers': False,
                f'{phase}_dataloader.dataset.serialize_data': False,
            }
        )
        for i, transform in enumerate(cfg[f'{phase}_dataloader'].dataset.pipeline):
            if 'scale' in transform:
                options[f'{phase}_dataloader.dataset.pipeline.{i}.scale'] = (64, 64)
            if 'crop_size' in transform:
                options[f'{phase}_dataloader.dataset.pipeline.{i}.crop_size'] = (64, 64)
    options.update(
        {'train_dataloader.batch_size': 2, 'train_dataloader.dataset.indices': 4, 'train_cfg.max_epochs': 1}
        if detects
        else {'train_dataloader.batch_size': 2, 'train_cfg.max_iters': 2, 'model.data_preprocessor.size': (64, 64)}
    )
    cfg.merge_from_dict(options)
    return cfg


def train(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses, counts = runner.message_hub.get_scalar('train/loss').data
    assert counts.sum() == 2 and [loss for loss in losses if not np.isfinite(loss)] == []
    return runner


def dataset(cfg: Config, phase: str = 'train'):
    init_default_scope(cfg.default_scope)
    config = cfg[f'{phase}_dataloader'].dataset
    config.pop('indices', None)
    return DATASETS.build(config)


def test_page_blocks_are_found():
    assert {'my_detector.py', 'my_segmentor.py'} < set(CONFIGS) and len(CONFIGS) == 7 and len(COMMANDS) == 2
    assert [name for name in CONFIGS if not name.endswith('.py')] == []


def test_detector_config_trains_and_tests(project):
    cfg = small('my_detector.py', project)
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    runner = train(cfg)
    assert runner.visualizer.dataset_meta['classes'] == CLASSES
    assert runner.test()['coco/bbox_mAP'] >= 0  # found under the names that the page gives
    data = dataset(cfg)
    assert len(data) == 9 and len(data.metainfo['palette']) == 4
    assert {label for i in range(9) for label in data.get_data_info(i)['instances'][0].keys()} >= {'bbox', 'bbox_label'}


def test_detector_config_with_empty_images_keeps_them(project):
    cfg = small('my_detector_with_empty_images.py', project)
    data = dataset(cfg)
    assert len(data) == 10 and any(not data.get_data_info(i)['instances'] for i in range(10))
    train(small('my_detector_with_empty_images.py', project))


def test_detector_config_unmatched_classes_raise(project):
    """The message is quoted in docs/troubleshooting.md."""
    cfg = small('my_detector.py', project)
    cfg.train_dataloader.dataset.update(metainfo=dict(classes=('Disc', 'disk')), serialize_data=True)
    with pytest.raises(ValueError, match='need at least one array to concatenate'):
        dataset(cfg)


@pytest.mark.parametrize('name, lowest', [('my_segmentor.py', 0), ('my_segmentor_from_1.py', 1)])
def test_segmentor_config_maps_labels_and_trains(project, name, lowest):
    cfg = small(name, project)
    assert cfg.model.decode_head.num_classes == len(SEG_CLASSES) - lowest == cfg.model.auxiliary_head.num_classes
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [step for step in pipeline if not step.type.startswith('Random')]
    data = dataset(cfg)
    assert len(data.metainfo['classes']) == len(data.metainfo['palette']) == len(SEG_CLASSES) - lowest
    for i in range(3):
        drawn = cv2.imread(data.get_data_info(i)['seg_map_path'], cv2.IMREAD_UNCHANGED)
        loaded = data[i]['data_samples'].gt_sem_seg.data[0].numpy()
        np.testing.assert_array_equal(loaded, np.where(drawn, drawn - lowest, 255 if lowest else 0))
    runner = train(small(name, project))
    assert 'mIoU' in runner.test()


def test_segmentor_loss_ignores_label_255(project):
    """Pixels of 255 get no gradient; other values that are too high are refused."""
    cfg = small('my_segmentor.py', project)
    init_default_scope('mmseg')
    head = cfg.model.decode_head.loss_decode
    loss = MODELS.build(head)
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 5, 4, 4, requires_grad=True), torch.randint(0, 5, (1, 4, 4))
    labels[:, 0] = 255
    loss(logits, labels, ignore_index=255).backward()
    assert not logits.grad[:, :, 0].any() and (logits.grad[:, :, 1:] != 0).all()
    labels[:, 0] = 5
    with pytest.raises(IndexError, match='Target 5 is out of bounds'):
        loss(logits, labels, ignore_index=255)
    head.class_weight = [1.0] * 5
    labels[:, 0] = 255
    weighted = MODELS.build(head)
    if is_distributed('onedl-mmsegmentation'):
        logits.grad = None
        weighted(logits, labels, ignore_index=255).backward()
        assert not logits.grad[:, :, 0].any() and (logits.grad[:, :, 1:] != 0).all()
    else:  # OpenMMLab's mmseg looks up the weight of 255 too
        with pytest.raises(IndexError, match='index 255 is out of bounds'):
            weighted(logits, labels, ignore_index=255)


def test_segmentor_config_reduce_zero_label_twice_raises(project):
    cfg = small('my_segmentor.py', project)
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True
    with pytest.raises(AssertionError, match='Initialize dataset with `reduce_zero_label` as False'):
        dataset(cfg)[0]


def test_scaled_and_accumulated_configs_set_the_learning_rate(project):
    cfg = small('my_detector_scaled.py', project)
    runner = train(cfg)
    assert runner.optim_wrapper.optimizer.param_groups[0]['initial_lr'] == pytest.approx(1e-4 * 2 / 16)
    cfg = small('my_detector_accumulated.py', project)
    assert cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts == 16
    runner = Runner.from_cfg(cfg)
    assert runner.build_optim_wrapper(runner.optim_wrapper)._accumulative_counts == 8


def test_few_images_config_shortens_the_schedule_and_trains(project):
    cfg = Config.fromfile('my_detector_few_images.py')
    warm_up, steps = cfg.param_scheduler
    assert steps.end == cfg.train_cfg.max_epochs == 6 and steps.milestones == [4, 5]
    assert Config.fromfile('my_detector.py').train_cfg.max_epochs == 12  # the inherited recipe, as the page says
    assert not warm_up.by_epoch and warm_up.end < 500
    for phase in ('train', 'val', 'test'):
        assert [step.scale for step in cfg[f'{phase}_dataloader'].dataset.pipeline if 'scale' in step] == [(640, 640)]
    runner = train(small('my_detector_few_images.py', project))
    assert runner.optim_wrapper.clip_grad_kwargs == dict(max_norm=1.0, norm_type=2)
    start = torch.load('rest_small.pth', weights_only=True)['model']
    parameters = dict(runner.model.backbone.named_parameters())
    still = {key for key, value in parameters.items() if key in start and torch.equal(value.detach(), start[key])}
    frozen = {key for key, value in parameters.items() if not value.requires_grad}
    assert frozen and frozen <= still < set(parameters)
    assert runner.test()['coco/bbox_mAP'] >= 0


def test_page_commands_draw_and_check_data(project, capsys):
    """Run mmrest shapes and mmrest check; of mmrest train and mmrest test, the config and the check of its data."""
    draw, use = COMMANDS
    (project / 'data/mine').unlink()
    main([*shlex.split(draw)[1:], '--num-train', '2', '--num-val', '2', '--shape', '32', '32'])
    check, train_command, test_command = (shlex.split(line)[1:] for line in use.splitlines())
    with pytest.raises(SystemExit, match='^0$'):
        main(check)
    assert '0 errors' in capsys.readouterr().out
    assert train_command == ['train', 'my_detector.py'] and test_command[:2] == ['test', 'my_detector.py']
    check_data(load_config('my_detector.py', {}), ('train', 'val', 'test'))


def test_own_data_settings_fit_mmrest_configs_too(project):
    """Of the page: replace only the first line of my_detector.py, the base."""
    (base,) = (block.text for block in read_blocks(REPO / PAGE) if 'get_config_path' in block.text)
    text = CONFIGS['my_detector.py'].text
    assert text.count("_base_ = './retinanet.py'\n") == 1
    (project / 'my_other.py').write_text(text.replace("_base_ = './retinanet.py'\n", base))
    cfg = load_config('my_other.py', {})
    check_data(cfg, ('train', 'val', 'test'))
    assert dataset(cfg, 'test').cat_ids == [1, 2, 3, 4] and cfg.model.bbox_head.num_classes == len(CLASSES)


def test_own_data_config_starts_from_random_weights(project):
    text = "_base_ = './my_detector.py'\nmodel = dict(backbone=dict(init_cfg=None))\n"
    (project / 'my_random.py').write_text(text)
    (project / 'rest_small.pth').unlink()
    train(small('my_random.py', project))
