"""The command mmrest: its table of commands, help and errors, and commands that run without torch."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from conftest import REPO, run_process
from helpers.wheels import hide_packages

from mmrest.__main__ import COMMANDS, STANDARD_LIBRARY, main, source_file


def ends(*argv: str) -> int | None:
    """Return the status with which a command line ends the program; it has to end it."""
    with pytest.raises(SystemExit) as status:
        main([str(part) for part in argv])
    return status.value.code


def test_every_tool_has_a_command():
    tools = {f'commands.{path.stem}' for path in (REPO / 'mmrest/commands').glob('*.py') if path.stem != '__init__'}
    others = {'utils.resources', 'mmcv_ops.__main__', 'doctor'}
    assert sorted(COMMANDS.values()) == sorted(tools | others)
    assert set(STANDARD_LIBRARY) <= set(COMMANDS)


def test_table_of_the_docs_has_all_commands_with_their_files(repo):
    rows = re.findall(
        r'^\| `mmrest ([a-z-]+)` \| (?:`(.*?)`)? *\|', (repo / 'docs/training.md').read_text(), re.MULTILINE
    )
    files = {name: f'tools/{source_file(name).name}' for name in COMMANDS}
    assert rows == [(name, file if (repo / file).is_file() else '') for name, file in files.items()]


def test_help_has_one_line_for_each_command(monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '80')
    assert ends('--help') == 0
    head, listed = capsys.readouterr().out.split('commands:\n')
    assert head.startswith('usage: mmrest [-h] [--version] COMMAND ...\n')
    lines = listed.split('\n\n')[0].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert [line for line in lines if not re.fullmatch('  [a-z-]+ {2,}[A-Z].{10,}[^.:;]', line) or len(line) > 80] == []
    assert '  train      Train a model of the OpenMMLab family from its config' in lines


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_a_command_is_its_own_under_the_name_of_the_command(capsys, name):
    before = sys.argv
    assert ends(name, '--help') == 0
    assert capsys.readouterr().out.startswith(f'usage: mmrest {name} [-h]')
    assert sys.argv is before


@pytest.mark.parametrize('name', COMMANDS)
def test_wrong_option_of_a_command_is_an_error_under_its_name(capsys, name):
    assert ends(name, '--no-such-option') == 2
    error = capsys.readouterr().err
    assert error.startswith(f'usage: mmrest {name} ') and f'\nmmrest {name}: error: ' in error


def test_nested_command_has_both_names_in_its_usage(capsys):
    assert ends('analyze', 'erf', '--help') == 0
    assert capsys.readouterr().out.startswith('usage: mmrest analyze erf ')


def test_tool_keeps_its_file_in_usage_after_a_command_has_run(monkeypatch, capsys):
    from mmrest.commands import train

    monkeypatch.setattr(sys, 'argv', ['/somewhere/tools/train.py', '--help'])
    ends('train', '--help')
    capsys.readouterr()
    with pytest.raises(SystemExit, match='0'):
        train.main()
    assert capsys.readouterr().out.startswith('usage: train.py [-h]')


@pytest.mark.parametrize(
    'word, hint',
    [
        ('trian', 'Did you mean train?'),
        ('mmcv_ops', 'Did you mean mmcv-ops?'),
        ('get_flops', 'Did you mean flops?'),
        ('check_dataset', 'Did you mean check?'),
        ('run_demo', 'Did you mean demo?'),
        ('draw_shapes', 'Did you mean shapes?'),
        ('xyz', 'List them all: mmrest --help'),
    ],
)
def test_unknown_command_is_an_error_that_suggests_one(capsys, word, hint):
    assert ends(word, '--help') == 2
    usage, error = capsys.readouterr().err.strip().rsplit('\n', 1)
    assert usage.startswith('usage: mmrest ') and error == f'mmrest: error: there is no command {word}. {hint}'


@pytest.mark.parametrize('argv', [['--nothing'], ['--nothing', 'train'], ['configs'], ['configs', 'a', '--list']])
def test_wrong_arguments_are_refused(argv, capsys):
    assert ends(*argv) == 2
    assert 'usage: mmrest ' in capsys.readouterr().err


def test_no_command_prints_the_help_on_stderr(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert not printed.out and '\ncommands:\n' in printed.err


def test_version_is_that_of_the_package(capsys):
    import mmrest

    assert ends('--version') == 0
    assert capsys.readouterr().out == f'mmrest {mmrest.__version__}\n'


# --- runs ---
def test_configs_prints_the_path(repo, capsys):
    assert main(['configs', 'upernet_rest_lite_shapes']) is None
    assert capsys.readouterr().out == f'{repo / "configs/upernet_rest_lite_shapes.py"}\n'


def test_flops_counts(capsys):
    main(['flops', '--backbone', 'ResT', '--arch', 'lite', '--shape', '64', '64'])
    assert capsys.readouterr().out.startswith('One image of 64 x 64 (height x width)\n')


def test_missing_file_has_the_status_of_the_tool(own_process_state, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ends('train', 'none.py') == 2
    assert re.fullmatch('error: .*none.py.*\n', capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('last_image, status', [(None, 0), ('not an image', 1)])
def test_shapes_are_drawn_and_checked(own_process_state, tmp_path, capsys, last_image, status):
    """The check ends with status 1 if it finds an error."""
    main(['shapes', str(tmp_path / 'set'), '--num-train', '2', '--num-val', '2', '--shape', '32', '32'])
    images = tmp_path / 'set/images/val'
    if last_image:
        max(images.glob('*.png')).write_text(last_image)
    assert ends('check', '--coco', tmp_path / 'set/annotations/instances_val.json', images) == status
    assert max(images.glob('*.png')).name in capsys.readouterr().out or not last_image


def test_module_runs_commands(tmp_path):
    """With an import of mmrest before the command, ``python -m mmrest`` is the same."""
    printed = run_process([sys.executable, '-m', 'mmrest', 'flops', '--arch', 'lite'], tmp_path, status=2)
    assert printed == 'error: Give either a config or --backbone with --arch.\n'


# --- without torch ---
@pytest.fixture
def launch(tmp_path):
    """A function that starts ``mmrest`` in a process that finds no installed packages."""
    environment = hide_packages(tmp_path, REPO)

    def start(*argv: str, status: int = 0) -> str:
        return run_process([sys.executable, '-m', 'mmrest_cli', *argv], tmp_path, environment, status)

    return start


def test_help_needs_no_torch(launch):
    assert '  doctor     Check an environment for mmrest\n' in launch('--help')


def test_configs_needs_no_torch(launch, repo):
    assert Path(launch('configs', '--tools').strip()) == repo / 'tools'


def test_doctor_needs_no_torch(launch):
    printed = launch('doctor', status=1)
    assert printed.startswith('mmrest doctor: ') and re.search(r'FAIL  torch +not installed', printed)


def test_command_without_torch_is_one_message_that_names_the_fix(launch):
    printed = launch('train', 'config.py', status=1)
    assert re.fullmatch(r'error: mmrest needs torch and mmengine, and .* is not installed: .*doctor\.py\n', printed)
