"""Checks of the data of a config before a run starts."""

import pytest
from helpers.configs import DEMO, write
from mmengine.config import Config

from mmrest.engine import UsageError, check_data, load_config, prepare_test, prepare_train

pytest.importorskip('mmdet')


def test_check_data_missing_files_are_listed_once(repo, tmp_path):
    cfg = load_config(f'{repo}/configs/retinanet_rest_lite_fpn_1x_coco.py', dict(data_root=str(tmp_path / 'coco')))
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


def test_check_data_missing_shapes_name_the_tool(tmp_path):
    with pytest.raises(UsageError, match='draw_shapes.py .*shapes'):
        check_data(load_config(DEMO, dict(data_root=str(tmp_path / 'shapes'))))


@pytest.mark.parametrize(
    'present, said',
    [
        (
            ['instances_train.json', 'instances_vla.json'],
            'instances_val.json  (for val). Did you mean instances_vla.json?',
        ),
        (['instances_train.json'], 'instances_val.json  (for val)\nPut the data there, link to them'),
    ],
)
def test_check_data_misspelled_file_suggests_one_that_nothing_else_uses(tmp_path, present, said):
    (tmp_path / 'annotations').mkdir()
    for name in present:
        (tmp_path / 'annotations' / name).touch()
    loaders = {
        f'{phase}_dataloader': dict(
            dataset=dict(data_root=f'{tmp_path}/', ann_file=f'annotations/instances_{phase}.json')
        )
        for phase in ('train', 'val')
    }
    with pytest.raises(UsageError) as error:
        check_data(Config(dict(data_root=f'{tmp_path}/', **loaders)))
    assert said in str(error.value) and ('link to them' in str(error.value)) != ('Did you mean' in said)


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
def test_check_data_wrapped_dataset_is_checked(tmp_path, wrap):
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
def test_check_data_finds_missing_path_in_every_form(tmp_path, dataset, missing):
    (tmp_path / 'img').mkdir()
    (tmp_path / 'a.json').touch()
    dataset = eval(repr(dataset).replace('{}', str(tmp_path)))
    if missing is None:
        check(dataset)
    else:
        with pytest.raises(UsageError, match=f'/{missing}  '):
            check(dataset)


def test_check_data_missing_evaluator_file_raises(tmp_path):
    with pytest.raises(UsageError, match='none.json'):
        check({}, evaluator=[dict(type='A'), dict(type='B', ann_file=str(tmp_path / 'none.json'))])


def test_check_data_complete_passes(shapes):
    check_data(load_config(DEMO, dict(data_root=str(shapes))), ('train', 'val', 'test'))


@pytest.mark.parametrize('phase', ['train', 'val', 'test'])
@pytest.mark.parametrize('size', [0, -1, 1.5, '8x'])
def test_prepare_bad_batch_size_raises(shapes, tmp_path, phase, size):
    cfg = load_config(DEMO, {'data_root': str(shapes), f'{phase}_dataloader.batch_size': size})
    with pytest.raises(UsageError, match=f'{phase}_dataloader.batch_size must be a positive integer, got {size!r}'):
        prepare_test(cfg, write(tmp_path / 'some.pth', 'x')) if phase == 'test' else prepare_train(cfg)


def test_prepare_train_without_batch_size_passes(shapes):
    cfg = load_config(DEMO, dict(data_root=str(shapes)))
    del cfg.train_dataloader['batch_size']
    prepare_train(cfg)


def test_check_data_pickled_proposals_are_refused(shapes):
    cfg = load_config(DEMO, {'data_root': str(shapes), 'val_dataloader.dataset.proposal_file': 'p.pkl'})
    with pytest.raises(UsageError, match='p.pkl is refused as proposal_file'):
        check_data(cfg)
