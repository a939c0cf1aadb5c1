"""Configs to share: what tells about a machine or an account goes, everything else stays."""

import pytest
from mmengine.config import Config

from mmrest.converters import shared_config
from mmrest.converters.shared_config import find_traces, share_config, shorten_path


@pytest.mark.parametrize(
    'text, expected',
    [
        ('/home/jane/coco/', 'coco/'),
        ('/data/coco/annotations/a.json', 'a.json'),
        ('/home/jane/', ''),
        ('/home/jane', ''),
        ('/Users/jane/x.pth', 'x.pth'),
        ('/root/x.pth', 'x.pth'),
        ('/', ''),
        ('~/x.pth', 'x.pth'),
        ('~jane/', ''),
        ('../jane/x.pth', 'x.pth'),
        ('../..', ''),
        ('C:\\Users\\jane\\x.pth', 'x.pth'),
        ('C:/Users/jane', ''),
        ('\\\\server\\jane\\x.pth', 'x.pth'),
        ('file:///home/jane/x.pth', 'x.pth'),
        ('s3://bucket/jane/x.pth', 'x.pth'),
        ('s3://jane', ''),
        ('tcp://10.0.0.1:29500', ''),
        ('env://', 'env://'),
        ('https://jane:key@host:80/a/x.pth?token=1#part', 'https://host:80/a/x.pth'),
        ('https://host/x.pth', 'https://host/x.pth'),
        ('hf://owner/name/x.pth', 'hf://owner/name/x.pth'),
        ('torchvision://resnet50', 'torchvision://resnet50'),
        ('data/coco/', 'data/coco/'),
        ('images/a b.png', 'images/a b.png'),
        ('ResT', 'ResT'),
        ('epoch_{}.pth', 'epoch_{}.pth'),
        ('.*backbone', '.*backbone'),
        ('', ''),
    ],
)
def test_shorten_path_leaves_the_last_part(text, expected):
    assert shorten_path(text) == expected


PRIVATE = dict(
    work_dir='/home/jane/run',
    load_from='/home/jane/old.pth',
    resume=True,
    launcher='slurm',
    data_root='/home/jane/coco/',
    model=dict(type='RetinaNet', backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='~/w/rest.pth'))),
    train_dataloader=dict(dataset=dict(ann_file='/home/jane/coco/a.json', backend_args=dict(key='SECRET'))),
    visualizer=dict(vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict(entity='jane', key='SECRET'))]),
    default_hooks=dict(checkpoint=dict(interval=1, out_dir='s3://jane/x')),
)
PLAIN = dict(
    load_from=None,
    resume=False,
    backend_args=None,
    max_epochs=12,
    optim_wrapper=dict(optimizer=dict(lr=1e-4, betas=(0.9, 0.999)), paramwise_cfg={'a.b': {'x-y': 0.1}}),
    custom_imports=dict(imports=['mmrest']),
)


@pytest.mark.parametrize('as_text', [True, False])
def test_share_config_leaves_out_what_is_private(as_text):
    config = Config(dict(PLAIN, **PRIVATE))
    shared = share_config(config.pretty_text if as_text else config)
    assert [word for word in ('jane', 'SECRET', 'home', 'slurm') if word in shared.text] == []
    assert sorted(shared.removed) == [
        'default_hooks.checkpoint.out_dir',
        'launcher',
        'load_from',
        'resume',
        'train_dataloader.dataset.backend_args',
        'visualizer.vis_backends.0.init_kwargs',
        'work_dir',
    ]
    assert sorted(shared.shortened) == [
        'data_root',
        'model.backbone.init_cfg.checkpoint',
        'train_dataloader.dataset.ann_file',
    ]
    result = Config.fromstring(shared.text, '.py')
    assert result.model.backbone.init_cfg.checkpoint == 'rest.pth' and result.data_root == 'coco/'
    assert result.visualizer.vis_backends == [dict(type='WandbVisBackend')]


@pytest.mark.parametrize('as_text', [True, False])
def test_share_config_keeps_everything_else(as_text):
    config = Config(PLAIN)
    shared = share_config(config.pretty_text if as_text else config)
    assert shared.removed == shared.shortened == []
    assert Config.fromstring(shared.text, '.py').to_dict() == PLAIN == shared.values


def test_share_config_runs_no_code(tmp_path):
    text = f"a = 1\nb = open('{tmp_path}/it_ran', 'w').write('x')\nc = dict(d=2)\n"
    shared = share_config(text)
    assert shared.values == dict(a=1, c=dict(d=2)) and shared.removed == ['b'] and not (tmp_path / 'it_ran').exists()
    assert share_config('not ( Python').text == ''


def test_find_traces_names_home_account_and_machine(monkeypatch):
    monkeypatch.setattr(shared_config.socket, 'gethostname', lambda: 'bignode.example')
    monkeypatch.setattr(shared_config.getpass, 'getuser', lambda: 'jane')
    monkeypatch.setenv('HOME', '/srv/people/j')
    found = find_traces('x /home/joe/a "jane_run" BigNode bignode-3 /srv/people/j/b janet C:\\Users\\jim')
    assert found == ['/home/joe', '\\Users\\jim', 'bignode', '/srv/people/j', 'jane']
    assert find_traces('janet, bignodes, data_root, /homes') == []
    monkeypatch.setattr(shared_config.getpass, 'getuser', lambda: 'root')
    assert find_traces('data_root') == []
