"""From command lines to configs, and the mistakes that are caught before a run starts."""

import os

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

pytest.importorskip('mmdet')

from helpers.configs import DEMO, write  # noqa: E402

from mmrest.engine import UsageError, check_data, config, load_config, prepare_test, prepare_train  # noqa: E402


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch, repo):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.chdir(repo)


def test_load_config_data_root_moves_datasets_and_evaluators():
    cfg = load_config('configs/retinanet_rest_lite_fpn_1x_coco.py', dict(data_root='/elsewhere'))
    for phase in ('train', 'val', 'test'):
        assert cfg[f'{phase}_dataloader'].dataset.data_root == '/elsewhere/'
        assert cfg[f'{phase}_dataloader'].dataset.data_prefix.img.endswith('2017/')
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == '/elsewhere/annotations/instances_val2017.json'


@pytest.mark.parametrize(
    'own, root, said',
    [("'/my/data/'", 'data/coco/', True), ("'data/coco'", 'data/coco/', False), (None, 'data/coco/', False)],
)
def test_load_config_unused_data_root_warns(repo, tmp_path, monkeypatch, own, root, said):
    """A config that inherits ours and sets it changes no dataset; the option moves them all the same."""
    text = f"_base_ = '{repo}/configs/retinanet_rest_lite_fpn_1x_coco.py'\n"
    path = write(tmp_path / 'mine.py', text + (f'data_root = {own}\n' if own else ''))
    printed = []
    monkeypatch.setattr(config, 'print_log', lambda text, **options: printed.append(text))
    cfg = load_config(path)
    assert cfg.train_dataloader.dataset.data_root == root and len(printed) == said
    if said:
        assert "No dataset uses data_root = '/my/data/'" in printed[0] and f'they are in {root}' in printed[0]
        assert '--cfg-options data_root=/my/data/' in printed[0]
        with pytest.raises(UsageError, match=f'ln -s /path/to/data {root.rstrip("/")}'):
            check_data(cfg)
    for option in ('/my/data', '/other/'):
        printed.clear()
        cfg = load_config(path, dict(data_root=option))
        moved = option.rstrip('/') + '/'
        assert cfg.train_dataloader.dataset.data_root == moved == cfg.test_dataloader.dataset.data_root
        assert cfg.val_evaluator.ann_file == f'{moved}annotations/instances_val2017.json' and not printed


@pytest.mark.parametrize(
    'chain, said',
    [
        ("train_dataloader = dict(dataset=dict(data_root='mine/'))\n", False),  # data_root is the inherited one, in use
        ("data_root = 'mine/'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))\n", False),
        ("data_root = 'mine/'\n", True),
    ],
)
def test_load_config_inherited_data_root_does_not_warn(repo, tmp_path, monkeypatch, chain, said):
    write(tmp_path / 'base.py', f"_base_ = '{repo}/configs/retinanet_rest_lite_fpn_1x_coco.py'\n{chain}")
    path = write(tmp_path / 'mine.py', "_base_ = ['base.py']\n")
    printed = []
    monkeypatch.setattr(config, 'print_log', lambda text, **options: printed.append(text))
    load_config(path)
    assert bool(printed) == said


def test_load_config_work_dir_is_named_after_the_config(tmp_path):
    assert load_config(DEMO).work_dir == 'work_dirs/retinanet_rest_lite_fpn_shapes'
    assert load_config(DEMO, work_dir='here').work_dir == 'here'


def test_load_config_data_root_without_variable_raises(tmp_path):
    path = write(tmp_path / 'c.py', "train_dataloader = dict(dataset=dict(data_root='a/'))")
    with pytest.raises(UsageError, match='no data_root to override'):
        load_config(path, dict(data_root='/elsewhere'))


def test_load_config_unknown_name_suggests_others():
    with pytest.raises(UsageError, match='no config.*Did you mean.*retinanet_rest_small_fpn_1x_coco'):
        load_config('configs/retinanet_rest_smal_fpn_1x_coco.py')
    with pytest.raises(UsageError, match='Check the path'):
        load_config('configs/zzz.py')


def test_load_config_missing_base_suggests_others(tmp_path):
    (tmp_path / 'retinanet.py').write_text('')
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = './retinanet_.py'\n")
    with pytest.raises(UsageError) as error:
        load_config(str(path))
    base = tmp_path / 'retinanet_.py'
    assert (
        str(error.value) == f'{path} inherits from {base}, which does not exist. Did you mean {tmp_path}/retinanet.py?'
    )


def test_load_config_missing_library_is_named(tmp_path):
    with pytest.raises(UsageError, match='(?s)not installed.*nothere.*mmrest.doctor'):
        load_config(write(tmp_path / 'c.py', "custom_imports = dict(imports=['nothere'], allow_failed_imports=False)"))


def test_prepare_test_tta_of_masks_raises(shapes, tmp_path):
    (tmp_path / 'file.pth').touch()
    cfg = load_config('configs/mask_rcnn_rest_lite_fpn_shapes.py', dict(data_root=str(shapes)))
    with pytest.raises(UsageError, match='no test-time augmentation for masks'):
        prepare_test(cfg, str(tmp_path / 'file.pth'), tta=True)


def pretend_gpu(monkeypatch):
    """Have torch find a GPU, and mmengine its number for the log."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')


def test_prepare_train_amp_keeps_bfloat16(shapes, monkeypatch):
    pretend_gpu(monkeypatch)
    cfg = load_config(DEMO, {'data_root': str(shapes), 'optim_wrapper.dtype': 'bfloat16'})
    assert prepare_train(cfg, amp=True).optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_prepare_train_amp_follows_the_device_and_needs_a_stock_wrapper(shapes, monkeypatch):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert prepare_train(cfg, amp=True).optim_wrapper.type == 'CPUAmpOptimWrapper'
    assert prepare_train(cfg, amp=True).optim_wrapper.type == 'CPUAmpOptimWrapper'  # as it is already
    cfg.optim_wrapper.update(type='OptimWrapper', dtype='float16')
    with pytest.raises(UsageError, match="on a CPU is in bfloat16, but .*dtype = 'float16': remove it"):
        prepare_train(cfg, amp=True)
    pretend_gpu(monkeypatch)
    prepare_train(cfg, amp=True)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = 'OwnWrapper'
    with pytest.raises(UsageError, match='not with OwnWrapper'):
        prepare_train(cfg, amp=True)


def test_prepare_train_auto_scale_lr_is_enabled_on_request(shapes):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    assert not prepare_train(cfg).auto_scale_lr.enable
    assert prepare_train(cfg, auto_scale_lr=True).auto_scale_lr.enable
    cfg.pop('auto_scale_lr')
    with pytest.raises(UsageError, match='auto_scale_lr.base_batch_size'):
        prepare_train(cfg, auto_scale_lr=True)


def test_prepare_test_options_change_a_detector_config(shapes, tmp_path, monkeypatch):
    checkpoint = write(tmp_path / 'some.pth', 'x')
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    prepare_test(cfg, checkpoint, out='results.pkl', show_dir='painted', tta=True)
    assert cfg.test_evaluator[-1] == dict(type='DumpDetResults', out_file_path='results.pkl')
    assert cfg.default_hooks.visualization.test_out_dir == str(tmp_path.cwd() / 'painted')
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'RetinaNet'
    assert cfg.test_dataloader.dataset.pipeline[-1].type == 'TestTimeAug'
    with pytest.raises(UsageError, match='.pkl'):
        prepare_test(load_config(DEMO, dict(data_root=str(shapes))), checkpoint, out='folder')
    with pytest.raises(UsageError, match='no checkpoint'):
        prepare_test(load_config(DEMO, dict(data_root=str(shapes))), str(tmp_path / 'none.pth'))


def test_prepare_test_options_change_a_segmentor_config(tmp_path):
    pytest.importorskip('mmseg')
    checkpoint = write(tmp_path / 'some.pth', 'x')
    text = (
        "default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\ntest_evaluator = dict(type='IoUMetric')\n"
        "test_dataloader = dict(dataset=dict(type='D', pipeline=[]))\n"
        "visualizer = dict(type='SegLocalVisualizer')\n"
        "default_hooks = dict(visualization=dict(type='SegVisualizationHook'))\n"
    )
    path = write(tmp_path / 'seg.py', text)
    cfg = prepare_test(load_config(path), checkpoint, out=str(tmp_path / 'maps'), show_dir=str(tmp_path / 'painted'))
    assert cfg.test_evaluator.output_dir == str(tmp_path / 'maps')
    hook = cfg.default_hooks.visualization
    assert cfg.visualizer.save_dir == str(tmp_path / 'painted') and hook.draw and hook.interval == 1
    with pytest.raises(UsageError, match='tta_pipeline'):
        prepare_test(load_config(path), checkpoint, tta=True)
    path = write(tmp_path / 'tta.py', text + "tta_model = dict(type='T')\ntta_pipeline = [dict(type='P')]\n")
    cfg = prepare_test(load_config(path), checkpoint, tta=True)
    assert cfg.model.type == 'T' and cfg.model.module.type == 'EncoderDecoder'
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='P')]


@pytest.mark.parametrize(
    'options, message',
    [
        ({'train_cfg.max_epoch': 3}, 'train_cfg.max_epoch is not a setting of EpochBasedTrainLoop'),
        (
            {'train_dataloader.prefetch_factor': 2, 'train_dataloader.num_workers': 0},
            'train_dataloader.prefetch_factor=2',
        ),
        ({'model.data_preprocessor.mean': [1.0] * 4}, 'model.data_preprocessor.mean has 4 values'),
        ({'visualizer.vis_backends': [dict(type='NoVisBackend')]}, 'visualizer.vis_backends.0.type is'),
        ({'model.backbone.type': 'Rest'}, r'model.backbone.type is .Rest., which is .*Did you mean ResT\?'),
        ({'model.neck.in_channels': [128, 256]}, r'model.neck.in_channels is \[128, 256\], but ResT gives'),
        (
            {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='none.pth')},
            'model.backbone.init_cfg.checkpoint is none.pth, which does not exist',
        ),
        ({'load_from': 'http://127.0.0.1:9/file.pth'}, 'load_from is http://127.0.0.1:9/file.pth, which cannot be'),
    ],
)
def test_prepare_train_invalid_config_raises_before_writing(shapes, tmp_path, options, message):
    cfg = load_config(DEMO, {'data_root': str(shapes), **options}, work_dir=str(tmp_path / 'work'))
    with pytest.raises(UsageError, match=message):
        prepare_train(cfg)
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        ({'test_cfg.fp_16': True}, 'test_cfg.fp_16 is not a setting of TestLoop'),
        ({'visualizer.vis_backends': [dict(type='NoVisBackend')]}, 'visualizer.vis_backends.0.type is'),
        ({'test_dataloader.persistent_workers': True, 'test_dataloader.num_workers': 0}, 'test_dataloader.persistent_'),
    ],
)
def test_prepare_test_invalid_config_raises(shapes, tmp_path, options, message):
    checkpoint = write(tmp_path / 'some.pth', 'x')
    with pytest.raises(UsageError, match=message):
        prepare_test(load_config(DEMO, {'data_root': str(shapes), **options}), checkpoint)
    with pytest.raises(UsageError, match='load_from is http://127.0.0.1:9/x.pth, which cannot be downloaded'):
        prepare_test(load_config(DEMO, dict(data_root=str(shapes))), 'http://127.0.0.1:9/x.pth')


@pytest.mark.parametrize(
    'name, text',
    [('c.png', 'x'), ('c.py', 'model = dict('), ('c.py', 'model = undefined')],
)
def test_load_config_unreadable_file_is_named(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=f'{name} cannot be read as a config: '):
        load_config(str(path))


@pytest.mark.parametrize('name', ['a.pth', 'https://host/a.safetensors'])
def test_load_config_checkpoint_in_its_place_is_named(name):
    with pytest.raises(UsageError, match=f'{name} is a checkpoint, .*the config comes before the checkpoint'):
        load_config(name)


def test_prepare_train_without_training_settings_raises(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('model = dict(type="A")')
    with pytest.raises(UsageError, match='has no train_dataloader, train_cfg, optim_wrapper to train with'):
        prepare_train(load_config(str(path)))


@pytest.mark.parametrize('given, own', [('~/my runs/x', None), (None, '~/my runs/x'), (None, None), ('a', '~/b')])
def test_load_config_work_dir_expands_the_home_folder(tmp_path, given, own):
    path = tmp_path / 'c.py'
    path.write_text(f'work_dir = {own!r}\n')
    home = os.path.expanduser('~')
    expected = given or own or 'work_dirs/c'
    assert load_config(str(path), work_dir=given).work_dir == expected.replace('~', home)
