"""Choice of the checkpoint that a run is resumed from."""

import pytest
import torch
from helpers.configs import DEMO, write
from mmengine.config import Config

from mmrest.checkpoints import CheckpointError
from mmrest.engine import UsageError, load_config, prepare_train
from mmrest.engine.resume import prepare_resume


@pytest.mark.parametrize('own', [{}, dict(randomness=dict(seed=None)), dict(randomness=dict(seed=3))])
def test_prepare_resume_takes_the_seed_of_the_checkpoint(tmp_path, own):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(epoch=1, iter=5, seed=77), state_dict={}, optimizer={}, message_hub={}), path)
    cfg = Config(dict(work_dir=str(tmp_path), **own))
    prepare_resume(cfg, 'auto')
    assert cfg.randomness.seed == 77 and cfg.load_from == str(path)


def test_prepare_train_resume_finds_and_checks_the_checkpoint(shapes, tmp_path):
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


def test_prepare_resume_other_names_are_mentioned(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr('mmrest.engine.resume.print_log', lambda text, **options: said.append(text))
    cfg = Config(dict(work_dir=str(tmp_path)))
    prepare_resume(cfg, 'auto')
    (tmp_path / 'iter_500.pth').touch()
    prepare_resume(cfg, 'auto')
    assert said == [
        f'There is no checkpoint in {tmp_path} to resume from: starting from the beginning.',
        f'There is no epoch_*.pth in {tmp_path} to resume from: starting from the beginning. To resume '
        'from another file there (iter_500.pth), name it: --resume PATH',
    ]
