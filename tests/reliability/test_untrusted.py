"""Files from elsewhere run no code: checkpoints to resume from, notes, annotations, predictions.

Reading checkpoint files as such is tested in test_checkpoints/test_safe.py, data in test_data_faults.py.
"""

import pickle

import pytest
import torch
from helpers.hostile import RunsCommand

from mmrest.checkpoints import CheckpointError
from mmrest.engine import UsageError, load_config, prepare_train

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')

from helpers.small_runs import build, train, write_config  # noqa: E402

pytestmark = pytest.mark.usefixtures('own_process_state')


@pytest.fixture
def config(repo, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, 'epochs', repo, shapes)


def state(**parts):
    return {
        'meta': dict(epoch=1, iter=5, seed=3),
        'state_dict': {'a': torch.rand(3)},
        'message_hub': {},
        'optimizer': {},
        **parts,
    }


@pytest.mark.parametrize('resume', ['auto', 'run/epoch_1.pth'])
def test_resume_hostile_checkpoint_is_refused(config, tmp_path, tally, resume):
    (tmp_path / 'run').mkdir()
    torch.save(state(x=RunsCommand('touch it_ran')), tmp_path / 'run/epoch_1.pth')
    with pytest.raises(CheckpointError, match='epoch_1.pth is refused: .* would run code.*system'):
        build(config, tmp_path / 'run', resume)
    assert not (tmp_path / 'it_ran').exists()
    tally('hostile files')


def test_resume_config_text_in_checkpoint_is_not_run(config, tmp_path, tally):
    """mmengine runs the text under meta.config when it resumes; there is no pickle needed for that."""
    options = {'train_dataloader.dataset.indices': 4}  # two steps an epoch
    train(config, tmp_path / 'run', **options, **{'train_cfg.max_epochs': 1})
    path = tmp_path / 'run/epoch_1.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = "open('it_ran', 'w').close()\n"
    torch.save(checkpoint, path)
    assert min(train(config, tmp_path / 'run', 'auto', **options, **{'train_cfg.max_epochs': 2})) == 3
    assert not (tmp_path / 'it_ran').exists()
    tally('hostile files')


def test_resume_note_naming_a_file_elsewhere_is_not_followed(config, tmp_path, tally):
    """There is nothing to resume where no checkpoint lies beside the note."""
    (tmp_path / 'run').mkdir()
    torch.save(state(x=RunsCommand('touch it_ran')), tmp_path / 'evil.pth')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'evil.pth'))
    runner = build(config, tmp_path / 'run', 'auto')
    assert not runner._resume and runner._load_from is None
    cfg = prepare_train(load_config(config, dict(resume=True), str(tmp_path / 'run')))
    assert not cfg.resume, 'nor when the config itself says so'
    assert not (tmp_path / 'it_ran').exists()
    tally('hostile files')


@pytest.mark.parametrize('suffix', ['.pkl', '.pickle', '.yaml', '.YML'])
def test_annotations_pickled_or_yaml_are_refused(config, shapes, tmp_path, tally, suffix):
    path = tmp_path / f'annotations{suffix}'
    path.write_bytes(pickle.dumps(RunsCommand('touch it_ran')))
    cfg = load_config(config, {'train_dataloader.dataset.ann_file': str(path)})
    with pytest.raises(UsageError, match=f'annotations{suffix} is refused as ann_file: .*allow_pickle=True'):
        prepare_train(cfg)
    cfg.allow_pickle = True
    prepare_train(cfg)
    assert not (tmp_path / 'it_ran').exists()
    tally('hostile files')
