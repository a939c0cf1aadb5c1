"""tools/run_demo.py: what --fresh removes, and the commands of its steps."""

from pathlib import Path

import pytest

from mmrest.commands import run_demo


@pytest.mark.parametrize('place', ['other', '.'])
def test_run_demo_fresh_keeps_a_folder_that_is_no_demo(run, tmp_path, capsys, place):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/mine.txt').touch()
    with pytest.raises(SystemExit) as exit_status:
        run('run_demo', '--fresh', '--work-dir', place)
    assert exit_status.value.code == 2 and 'is not the folder of a demo' in capsys.readouterr().err
    assert (tmp_path / 'other/mine.txt').exists()


def test_remove_demo_removes_the_folder_of_a_demo(tmp_path):
    (tmp_path / 'demo').mkdir()
    (tmp_path / f'demo/{run_demo.CONFIG}.py').touch()
    run_demo.remove_demo(tmp_path / 'demo')
    assert not any(tmp_path.iterdir())


def test_run_steps_draws_trains_and_tests_with_the_same_options(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(run_demo, 'run_tool', lambda tool, *args: commands.append([tool, *map(str, args)]))
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth\n')
    assert run_demo.run_steps(str(tmp_path), ['a=1', 'b=x y']) == Path(tmp_path / 'predictions.pkl')
    draw, train, test = commands
    assert draw == ['draw_shapes.py', 'data/shapes']
    assert train[2:] == ['--work-dir', str(tmp_path), '--resume', '--cfg-options', 'a=1', 'b=x y']
    assert test[2:4] == ['epoch_9.pth', '--work-dir'] and test[-4] == str(tmp_path / 'report')
    assert test[-3:] == ['--cfg-options', 'a=1', 'b=x y']
    assert Path(train[1]).name == Path(test[1]).name == f'{run_demo.CONFIG}.py'
