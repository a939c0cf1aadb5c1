"""From command lines to configs, and the mistakes that are caught before a run starts."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

pytest.importorskip('mmdet')

from mmrest.checkpoints import CheckpointError  # noqa: E402
from mmrest.engine import UsageError, build_runner, check_data, config, load_config, prepare_test, prepare_train  # noqa: E402

DEMO = 'configs/retinanet_rest_lite_fpn_shapes.py'


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch, repo):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.chdir(repo)


def write(path, text):
    path.write_text(text)
    return str(path)


def test_data_root_moves_datasets_and_evaluators():
    cfg = load_config('configs/retinanet_rest_lite_fpn_1x_coco.py', dict(data_root='/elsewhere'))
    for phase in ('train', 'val', 'test'):
        assert cfg[f'{phase}_dataloader'].dataset.data_root == '/elsewhere/'
        assert cfg[f'{phase}_dataloader'].dataset.data_prefix.img.endswith('2017/')
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == '/elsewhere/annotations/instances_val2017.json'


@pytest.mark.parametrize(
    'own, root, said',
    [("'/my/data/'", 'data/coco/', True), ("'data/coco'", 'data/coco/', False), (None, 'data/coco/', False)],
)
def test_a_data_root_that_no_dataset_uses(repo, tmp_path, monkeypatch, own, root, said):
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
def test_a_data_root_that_is_inherited_is_nobodys_mistake(repo, tmp_path, monkeypatch, chain, said):
    write(tmp_path / 'base.py', f"_base_ = '{repo}/configs/retinanet_rest_lite_fpn_1x_coco.py'\n{chain}")
    path = write(tmp_path / 'mine.py', "_base_ = ['base.py']\n")
    printed = []
    monkeypatch.setattr(config, 'print_log', lambda text, **options: printed.append(text))
    load_config(path)
    assert bool(printed) == said


def test_work_dir_is_named_after_the_config(tmp_path):
    assert load_config(DEMO).work_dir == 'work_dirs/retinanet_rest_lite_fpn_shapes'
    assert load_config(DEMO, work_dir='here').work_dir == 'here'


def test_only_torchrun_distributes_on_cpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UsageError, match='slurm needs GPUs.*dist_train.sh'):
        load_config(DEMO, launcher='slurm')


def test_data_root_of_a_config_that_has_none(tmp_path):
    path = write(tmp_path / 'c.py', "train_dataloader = dict(dataset=dict(data_root='a/'))")
    with pytest.raises(UsageError, match='no data_root to override'):
        load_config(path, dict(data_root='/elsewhere'))


def test_unknown_config_suggests_others():
    with pytest.raises(UsageError, match='no config.*Did you mean.*retinanet_rest_small_fpn_1x_coco'):
        load_config('configs/retinanet_rest_smal_fpn_1x_coco.py')
    with pytest.raises(UsageError, match='Check the path'):
        load_config('configs/zzz.py')


def test_config_of_a_library_that_is_missing(tmp_path):
    with pytest.raises(UsageError, match='(?s)not installed.*nothere.*mmrest.doctor'):
        load_config(write(tmp_path / 'c.py', "custom_imports = dict(imports=['nothere'], allow_failed_imports=False)"))


def test_missing_data_are_listed_once_with_what_to_do(tmp_path):
    cfg = load_config('configs/retinanet_rest_lite_fpn_1x_coco.py', dict(data_root=str(tmp_path / 'coco')))
    with pytest.raises(UsageError) as error:
        check_data(cfg)
    message = str(error.value)
    assert message.count(str(tmp_path / 'coco')) == 2  # once as missing, once in the advice to link
    assert '(for train)' in message and '--cfg-options data_root=' in message

    (tmp_path / 'coco' / 'train2017').mkdir(parents=True)
    with pytest.raises(UsageError) as error:
        check_data(cfg, ('train',))
    assert 'instances_train2017.json  (for train)' in str(error.value)
    assert 'val2017' not in str(error.value)


def test_missing_shapes_say_how_to_draw_them(tmp_path):
    with pytest.raises(UsageError, match='draw_shapes.py .*shapes'):
        check_data(load_config(DEMO, dict(data_root=str(tmp_path / 'shapes'))))


def check(dataset, evaluator=None):
    check_data(Config(dict(train_dataloader=dict(dataset=dataset), train_evaluator=evaluator)), ('train',))


@pytest.mark.parametrize(
    'wrap',
    [
        lambda d: dict(type='RepeatDataset', times=2, dataset=d),
        lambda d: dict(type='ConcatDataset', datasets=[d]),
        lambda d: [d],
    ],
)
def test_data_of_wrapped_datasets(tmp_path, wrap):
    with pytest.raises(UsageError, match='none.json'):
        check(wrap(dict(type='A', data_root=str(tmp_path), ann_file='none.json')))


@pytest.mark.parametrize(
    'dataset, missing',
    [
        (dict(data_root='{}', ann_file=['a.json', 'none.json']), 'none.json'),
        (dict(data_root='{}', data_prefix=dict(img_path='none/', seg_map_path='img/')), 'none'),
        (dict(data_root='{}', data_prefix='none/shot_'), 'none'),
        (dict(ann_file='{}/none.json'), 'none.json'),
        (dict(data_root='{}/none', ann_file='a.json'), 'none'),
        (dict(data_root='{}', ann_file='a.json', data_prefix=dict(img='img/shot_')), None),
        (dict(data_root='{}', data_prefix='img/'), None),
        (dict(data_root=['{}', 'other'], ann_file=['none.json', 'b.json']), None),
        (dict(data_root='{}', ann_file='s3://bucket/none.json'), None),
        (dict(data_root='s3://bucket/', ann_file='none.json'), None),
        (dict(data_root='none/', ann_file='none.json', backend_args=dict(backend='petrel')), None),
        (dict(type='ImageNet', data_root='{}', split='none'), 'none'),
        (dict(type='ImageNet', data_root='{}', split='img', data_prefix=''), None),
        (dict(type='CUB', data_root='{}', split='train'), None),
        (dict(type='OwnDataset', anything=3), None),
    ],
)
def test_forms_in_which_datasets_name_their_data(tmp_path, dataset, missing):
    (tmp_path / 'img').mkdir()
    (tmp_path / 'a.json').touch()
    dataset = eval(repr(dataset).replace('{}', str(tmp_path)))
    if missing is None:
        check(dataset)
    else:
        with pytest.raises(UsageError, match=f'/{missing}  '):
            check(dataset)


def test_data_of_evaluators(tmp_path):
    with pytest.raises(UsageError, match='none.json'):
        check({}, evaluator=[dict(type='A'), dict(type='B', ann_file=str(tmp_path / 'none.json'))])


def test_complete_data_pass(shapes):
    check_data(load_config(DEMO, dict(data_root=str(shapes))), ('train', 'val', 'test'))


def test_package_that_the_registry_misses(monkeypatch, shapes):
    def fail(cfg):
        raise ModuleNotFoundError("No module named 'nothere'")

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', fail)
    with pytest.raises(UsageError, match='(?s)not installed.*nothere.*mmrest.doctor'):
        build_runner(load_config(DEMO, dict(data_root=str(shapes))))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model.backbone.arch': 'smal'}, "Unknown arch 'smal': choose from lite, small"),
        (
            {'model.backbone.type': 'ResTv2', 'model.backbone.arch': 'tiny', 'model.backbone.style': 'wide'},
            'Unknown style',
        ),
    ],
)
def test_arguments_that_the_backbone_refuses(shapes, tmp_path, options, message):
    cfg = load_config(DEMO, {'data_root': str(shapes), **options}, work_dir=str(tmp_path))
    with pytest.raises(UsageError, match=f'^The config cannot be used: {message}'):
        build_runner(cfg)


@pytest.mark.parametrize(
    'wrapper, message',
    [
        (dict(paramwise_cfg=dict(layer_decay_rate=2)), r'paramwise_cfg needs a layer_decay_rate in \(0, 1\], got 2'),
        (dict(paramwise_cfg=dict(layer_decay_rate=0.5), optimizer=dict(lr=None)), 'needs the lr'),
    ],
)
def test_arguments_that_the_optimizer_refuses(shapes, tmp_path, wrapper, message):
    options = {
        'data_root': str(shapes),
        'optim_wrapper': dict(wrapper, constructor='LayerDecayOptimWrapperConstructor'),
    }
    with pytest.raises(UsageError, match=f'^The config cannot be used: .*{message}'):
        build_runner(load_config(DEMO, options, work_dir=str(tmp_path)), train=True)


def test_base_lr_is_scaled_too(shapes, tmp_path):
    cfg = load_config(DEMO, {'data_root': str(shapes), 'train_dataloader.batch_size': 2}, work_dir=str(tmp_path))
    runner = build_runner(prepare_train(cfg, auto_scale_lr=True), train=True)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    assert {group['lr'] for group in runner.optim_wrapper.param_groups} == {1e-3 * 2 / 8}


@pytest.mark.parametrize('phase', ['train', 'val', 'test'])
@pytest.mark.parametrize('size', [0, -1, 1.5, '8x'])
def test_batches_of_no_images(shapes, tmp_path, phase, size):
    cfg = load_config(DEMO, {'data_root': str(shapes), f'{phase}_dataloader.batch_size': size})
    with pytest.raises(UsageError, match=f'{phase}_dataloader.batch_size must be a positive integer, got {size!r}'):
        prepare_test(cfg, write(tmp_path / 'some.pth', 'x')) if phase == 'test' else prepare_train(cfg)


def test_batches_of_a_sampler_have_no_size(shapes):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    del cfg.train_dataloader['batch_size']
    prepare_train(cfg)


def test_no_augmentation_of_masks(shapes, tmp_path):
    (tmp_path / 'file.pth').touch()
    cfg = load_config('configs/mask_rcnn_rest_lite_fpn_shapes.py', dict(data_root=str(shapes)))
    with pytest.raises(UsageError, match='no test-time augmentation for masks'):
        prepare_test(cfg, str(tmp_path / 'file.pth'), tta=True)


def test_value_errors_of_others_keep_their_traceback(monkeypatch, shapes):
    def fail(cfg):
        raise ValueError('of mmdet')

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', fail)
    with pytest.raises(ValueError, match='of mmdet'):
        build_runner(load_config(DEMO, dict(data_root=str(shapes))))


def test_bfloat16_by_one_option(shapes, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = load_config(DEMO, {'data_root': str(shapes), 'optim_wrapper.dtype': 'bfloat16'})
    assert prepare_train(cfg, amp=True).optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_amp(shapes, monkeypatch):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UsageError, match='needs a GPU'):
        prepare_train(cfg, amp=True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    prepare_train(cfg, amp=True)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.type = 'OwnWrapper'
    with pytest.raises(UsageError, match='not with OwnWrapper'):
        prepare_train(cfg, amp=True)


def test_auto_scale_lr(shapes):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    assert not prepare_train(cfg).auto_scale_lr.enable
    assert prepare_train(cfg, auto_scale_lr=True).auto_scale_lr.enable
    cfg.pop('auto_scale_lr')
    with pytest.raises(UsageError, match='auto_scale_lr.base_batch_size'):
        prepare_train(cfg, auto_scale_lr=True)


def test_resume(shapes, tmp_path):
    cfg = load_config(DEMO, dict(data_root=str(shapes)), work_dir=str(tmp_path))
    prepare_train(cfg)
    assert not cfg.resume
    prepare_train(cfg, resume='auto')
    assert not cfg.resume and cfg.load_from is None, 'there is nothing yet to resume'
    with pytest.raises(UsageError, match='no checkpoint'):
        prepare_train(cfg, resume=str(tmp_path / 'none.pth'))
    with pytest.raises(CheckpointError, match='some.pth'):
        prepare_train(cfg, resume=write(tmp_path / 'some.pth', 'x'))
    torch.save(
        dict(meta=dict(epoch=1, iter=5, seed=7), state_dict={}, message_hub={}, optimizer={}), tmp_path / 'epoch_1.pth'
    )
    for resume in ('auto', str(tmp_path / 'epoch_1.pth')):
        prepare_train(cfg, resume=resume)
        assert cfg.resume and cfg.load_from == str(tmp_path / 'epoch_1.pth') and cfg.randomness.seed == 7


def test_testing_options(shapes, tmp_path, monkeypatch):
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


def test_testing_options_of_segmentation(tmp_path):
    pytest.importorskip('mmseg')
    checkpoint = write(tmp_path / 'some.pth', 'x')
    text = (
        "default_scope = 'mmseg'\nmodel = dict(type='M')\ntest_evaluator = dict(type='IoUMetric')\n"
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
    assert cfg.model.type == 'T' and cfg.model.module.type == 'M'
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
        ({'load_from': 'http://127.0.0.1:9/file.pth'}, 'load_from is http://127.0.0.1:9/file.pth, which cannot be'),
    ],
)
def test_a_config_is_validated_before_training(shapes, tmp_path, options, message):
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
def test_a_config_is_validated_before_testing(shapes, tmp_path, options, message):
    checkpoint = write(tmp_path / 'some.pth', 'x')
    with pytest.raises(UsageError, match=message):
        prepare_test(load_config(DEMO, {'data_root': str(shapes), **options}), checkpoint)
    with pytest.raises(UsageError, match='load_from is http://127.0.0.1:9/x.pth, which cannot be downloaded'):
        prepare_test(load_config(DEMO, dict(data_root=str(shapes))), 'http://127.0.0.1:9/x.pth')
