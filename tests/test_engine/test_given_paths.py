"""What is found out about files and folders before work starts."""

import os

import pytest
import torch
from mmengine.config import Config

from mmrest.engine import UsageError, check_target, exit_on_user_error, load_config, prepare_train
from mmrest.engine.resume import prepare_resume
from mmrest.engine.validation import check_downloads


@pytest.mark.parametrize(
    'name, text',
    [('c.png', 'x'), ('c.py', 'model = dict('), ('c.py', "_base_ = 'gone.py'"), ('c.py', 'model = undefined')],
)
def test_what_is_no_config_is_named(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=f'{name} cannot be read as a config: '):
        load_config(str(path))


def test_a_config_without_training(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('model = dict(type="A")')
    with pytest.raises(UsageError, match='has no train_dataloader, train_cfg, optim_wrapper to train with'):
        prepare_train(load_config(str(path)))


def test_unknown_scheme_in_init_cfg_names_its_key():
    weights = dict(type='Pretrained', checkpoint='htps://host/file.pth')
    cfg = Config(dict(model=dict(backbone=dict(type='ResT', init_cfg=weights))))
    with pytest.raises(UsageError, match=r'^model\.backbone\.init_cfg\.checkpoint: .*unknown scheme htps://'):
        check_downloads(cfg)


def test_targets(tmp_path):
    file = tmp_path / 'file'
    file.write_text('')
    for good in (None, tmp_path, tmp_path / 'new/folder', 's3://bucket/x'):
        check_target(good, '--out')
    check_target(tmp_path / 'new/x.json', '--out', folder=False)
    for bad, folder in ((file, True), (file / 'x/y', True), (file / 'x.json', False), (tmp_path, False)):
        with pytest.raises(UsageError, match='^--out '):
            check_target(bad, '--out', folder=folder)


def test_errors_of_paths_are_one_message(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit), exit_on_user_error():
        (tmp_path / 'file/x').mkdir()
    assert capsys.readouterr().err == f'error: {tmp_path}/file/x: Not a directory.\n'


@pytest.mark.parametrize('own', [{}, dict(randomness=dict(seed=None)), dict(randomness=dict(seed=3))])
def test_the_seed_of_the_resumed_run_counts(tmp_path, own):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(epoch=1, iter=5, seed=77), state_dict={}, optimizer={}, message_hub={}), path)
    cfg = Config(dict(work_dir=str(tmp_path), **own))
    prepare_resume(cfg, 'auto')
    assert cfg.randomness.seed == 77 and cfg.load_from == str(path)


@pytest.mark.parametrize('given, own', [('~/my runs/x', None), (None, '~/my runs/x'), (None, None), ('a', '~/b')])
def test_a_work_dir_in_the_home_folder_is_one_place(tmp_path, given, own):
    path = tmp_path / 'c.py'
    path.write_text(f'work_dir = {own!r}\n')
    home = os.path.expanduser('~')
    expected = given or own or 'work_dirs/c'
    assert load_config(str(path), work_dir=given).work_dir == expected.replace('~', home)
