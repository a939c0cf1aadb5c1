"""A run that is interrupted and resumed has the losses of one that was not, to the last digit."""

import inspect

import pytest
from mmengine.runner import IterBasedTrainLoop

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

from helpers.small_runs import build, train, write_config  # noqa: E402

pytestmark = pytest.mark.usefixtures('own_process_state')
# Of a run; its checkpoints are after every fifth.
STEPS = 20


def compare(config, folder, tally, kill_before, done, whole=None, steps=STEPS, **options):
    """Interrupt a run before a step, resume it, and compare with one that went through."""
    length = {'train_cfg.max_epochs': steps // 5} if 'epochs' in config else {'train_cfg.max_iters': steps}
    whole = whole or train(config, folder / 'whole', **length)
    assert sorted(whole) == list(range(1, steps + 1)) and len(set(whole.values())) == steps
    first = train(config, folder / 'run', kill_before=kill_before, **length)
    assert sorted(first) == list(range(1, kill_before)), 'it was killed'
    rest = train(config, folder / 'run', resume='auto', **length, **options)
    assert sorted(rest) == list(range(done + 1, steps + 1)), 'it went on after the last checkpoint'
    assert first == {step: whole[step] for step in first}
    assert rest == {step: whole[step] for step in rest}
    tally('losses compared', len(first) + len(rest))
    tally('runs interrupted and resumed')
    return whole


@pytest.mark.parametrize('kind', ['epochs', 'iterations'])
def test_resume_with_persistent_workers_has_the_same_losses(repo, shapes, tmp_path, tally, kind):
    compare(write_config(tmp_path, kind, repo, shapes, workers=2), tmp_path, tally, 9, 5, steps=10)


@pytest.mark.skipif(
    'fast_forward_on_resume' not in inspect.signature(IterBasedTrainLoop).parameters,
    reason="only the loop of OneDL's mmengine has this argument",
)
def test_resume_with_fast_forward_has_the_same_losses(repo, shapes, tmp_path, tally):
    config = write_config(tmp_path, 'iterations', repo, shapes)
    compare(config, tmp_path, tally, 9, 5, steps=10, **{'train_cfg.fast_forward_on_resume': True})


@pytest.mark.reliability
@pytest.mark.parametrize('kind', ['epochs', 'iterations'])
def test_resume_with_any_number_of_workers_has_the_same_losses(repo, shapes, tmp_path, tally, kind):
    """The step at which the run was interrupted does not matter either."""
    whole = None
    for number, (workers, later, kill_before, done) in enumerate(
        [(0, 0, 6, 5), (0, 2, 10, 5), (2, 0, 16, 15), (2, 1, 18, 15), (3, 2, 20, 15)]
    ):
        config = write_config(tmp_path / str(number), kind, repo, shapes, workers=workers)
        options = {'train_dataloader.num_workers': later, 'train_dataloader.persistent_workers': later > 0}
        whole = compare(config, tmp_path / str(number), tally, kill_before, done, whole, **options)


@pytest.mark.reliability
def test_resume_with_another_checkpoint_interval_has_the_same_losses(repo, shapes, tmp_path, tally):
    config = write_config(tmp_path, 'iterations', repo, shapes, workers=2)
    interval = 'default_hooks.checkpoint.interval'
    whole = train(config, tmp_path / 'whole', **{interval: 7})
    train(config, tmp_path / 'run', kill_before=17, **{interval: 3})
    rest = train(config, tmp_path / 'run', 'auto', **{interval: 10})
    assert min(rest) == 16 and rest == {step: whole[step] for step in rest}
    tally('losses compared', len(rest))


@pytest.mark.reliability
def test_resume_with_validation_and_save_best_has_the_same_losses(repo, shapes, tmp_path, tally):
    """A validation that falls between checkpoints may save one: the resumed run does as well."""
    config = write_config(tmp_path, 'iterations', repo, shapes, workers=2)
    options = {'train_cfg.val_begin': 1, 'train_cfg.val_interval': 4, 'default_hooks.checkpoint.save_best': 'mIoU'}
    whole = train(config, tmp_path / 'whole', **options)
    assert whole == train(config, tmp_path / 'without')
    train(config, tmp_path / 'run', kill_before=12, **options)
    rest = train(config, tmp_path / 'run', 'auto', **options)
    assert rest == {step: whole[step] for step in rest}
    best = [sorted(path.name for path in (tmp_path / run).glob('best*')) for run in ('whole', 'run')]
    assert best[0] == best[1] and len(best[0]) == 1
    tally('losses compared', len(whole) + len(rest))


@pytest.mark.reliability
@pytest.mark.parametrize('kind', ['epochs', 'iterations'])
def test_resume_three_times_with_a_drawn_seed_has_the_same_losses(repo, shapes, tmp_path, tally, kind):
    config = write_config(tmp_path, kind, repo, shapes, workers=2)
    losses = train(config, tmp_path / 'run', kill_before=8, randomness=dict(seed=None))
    seed = build(config, tmp_path / 'run', 'auto', randomness=dict(seed=None)).seed
    whole = train(config, tmp_path / 'whole', randomness=dict(seed=seed))
    assert losses == {step: whole[step] for step in losses}
    for kill_before in (13, 17, None):
        losses = train(config, tmp_path / 'run', 'auto', kill_before, randomness=dict(seed=None))
        assert losses and losses == {step: whole[step] for step in losses}
        tally('losses compared', len(losses))
        tally('runs interrupted and resumed')


@pytest.mark.reliability
def test_resume_loads_no_sample_twice(repo, shapes, tmp_path):
    """mmengine's loop would load everything before the step that it resumes at."""
    config = write_config(tmp_path, 'iterations', repo, shapes)
    train(config, tmp_path / 'run', kill_before=6)
    runner = build(config, tmp_path / 'run', 'auto', **{'train_cfg.max_iters': 7})
    loaded = []
    dataset = runner.train_loop.dataloader.dataset
    prepare = dataset.prepare_data
    dataset.prepare_data = lambda index: loaded.append(index) or prepare(index)
    runner.train()
    assert len(loaded) == 2 * (7 - 5)
