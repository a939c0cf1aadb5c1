"""All tools together: one vocabulary, thin files, help for newcomers, and one message for bad input."""

import argparse
import ast
import importlib
import inspect
import re
import sys
from collections import defaultdict

import pytest
from conftest import REPO, run_process

COMMANDS = sorted(path.stem for path in (REPO / 'mmrest/commands').glob('*.py') if path.stem != '__init__')
# They run before anything is installed, on the standard library alone.
STANDARD_LIBRARY = {'doctor', 'setup_env', 'setup_progress'}
# The help of these options says after a colon what is written; that of all others has details after a semicolon.
OUTPUTS = ('--out', '--out-dir', '--show-dir', '--plot')


def command(name):
    return importlib.import_module(f'mmrest.commands.{name}')


def parsers(name):
    """The parser of a command, and those of its subcommands."""
    parser = command(name).build_parser()
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(sub for action in nested for sub in action.choices.values())]


def options():
    """(command, name of the option or positional, action) of everything that a command line takes."""
    for name in COMMANDS:
        for parser in parsers(name):
            for action in parser._actions:
                if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
                    if action.help != argparse.SUPPRESS:
                        yield name, (action.option_strings or [action.dest])[-1], action


ALL = list(options())
IDS = [f'{name} {option}' for name, option, _ in ALL]


def test_tools_are_those_of_the_commands():
    assert {path.stem for path in (REPO / 'tools').glob('*.py')} == {*COMMANDS, *STANDARD_LIBRARY}


@pytest.mark.parametrize('name', COMMANDS)
def test_tool_calls_its_command_and_nothing_else(name):
    tool = ast.parse((REPO / f'tools/{name}.py').read_text())
    assert [type(node) for node in tool.body] == [ast.Expr, ast.ImportFrom, ast.If]
    assert ast.unparse(tool.body[1]) == 'from mmrest_cli import run_tool'
    assert ast.unparse(tool.body[2].body[0]) == f'run_tool({name!r})'
    assert list(inspect.signature(command(name).main).parameters) == ['argv']


@pytest.mark.parametrize('name', COMMANDS)
def test_command_beside_its_parser_is_short(name):
    functions = [node for node in ast.parse(inspect.getsource(command(name))).body if isinstance(node, ast.FunctionDef)]
    assert sum(node.end_lineno - node.lineno + 1 for node in functions if node.name != 'build_parser') <= 60


@pytest.mark.parametrize('name', COMMANDS)
def test_help_begins_with_one_sentence_and_has_no_epilog(run, capsys, name):
    with pytest.raises(SystemExit) as exit_status:
        run(name, '--help')
    assert exit_status.value.code == 0
    sentence = command(name).__doc__.splitlines()[0]
    assert re.fullmatch(r'[A-Z][a-z]+ .*\.', sentence)
    assert sentence in ' '.join(capsys.readouterr().out.split())
    assert not any(parser.epilog for parser in parsers(name))


@pytest.mark.parametrize('name', ['doctor', 'setup_env'])
def test_help_of_standard_library_tools_works(name):
    assert 'usage: ' in run_process([sys.executable, '-S', REPO / f'tools/{name}.py', '--help'], REPO)


def test_shared_options_have_the_same_metavar_and_help():
    found = defaultdict(set)
    for _, option, action in ALL:
        text = action.help.split(':' if option in OUTPUTS else ';')[0]
        if option == 'checkpoint':  # of a tool that may run with initial weights
            text = text.removesuffix(', or none for initial weights')
        found[option].add((action.metavar, text))
    assert {option: seen for option, seen in found.items() if len(seen) > 1} == {}


@pytest.mark.parametrize('name, option, action', ALL, ids=IDS)
def test_option_states_its_value_and_default_in_one_style(name, option, action):
    assert re.match(r'[a-z0-9.\"]', action.help), 'a phrase, not a sentence'
    assert not action.help.endswith('.') and action.help.count('default:') <= 1 and '(default' not in action.help
    if action.default not in (None, False, True, []) and action.option_strings:
        assert re.search('; default: .', action.help)
    takes_value = action.option_strings and action.nargs != 0 and not action.choices
    if takes_value:
        names = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
        assert [each for each in names if not re.fullmatch(r'[A-Z]+(=[A-Z]+)?', each or '')] == []


@pytest.mark.parametrize('name, option, action', ALL, ids=IDS)
def test_option_follows_the_vocabulary(name, option, action):
    metavars = {'--out': 'FILE', '--out-dir': 'DIR', '--work-dir': 'DIR', '--shape': ('H', 'W')}
    assert action.metavar == metavars.get(option, action.metavar)
    is_integer = getattr(action.type, '__qualname__', '').startswith('integer.') or action.type is int
    if is_integer:
        assert action.metavar in ('N', ('H', 'W'))
    assert option.startswith('--num-') == (action.help.startswith('number of '))
    assert option not in ('--config', '--weights', '--size', '--json', '--folder')
    if option == '--checkpoint':
        assert not action.required


# What a file that is missing stops; the other arguments are never looked at.
MISSING = {
    'analyze': ['erf', 'none.png', 'none.py', 'none'],
    'benchmark': ['none.py'],
    'browse_dataset': ['none.py'],
    'check_dataset': ['none.py'],
    'convert_checkpoint': ['none.pth', 'out.pth'],
    'demo': ['none.png', 'none.py', 'none'],
    'export_onnx': ['none.py'],
    'get_flops': ['none.py'],
    'publish': ['none.pth'],
    'run_ablation': ['none.py'],
    'test': ['none.py', 'none.pth'],
    'train': ['none.py'],
}


@pytest.mark.parametrize('name', MISSING)
def test_missing_file_is_one_message(run, own_process_state, tmp_path, capsys, name):
    with pytest.raises(SystemExit) as exit_status:
        run(name, *MISSING[name])
    error = capsys.readouterr().err
    assert exit_status.value.code == 2
    assert re.match('error: .*none', error) and error.strip().count('\n') <= 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('name', COMMANDS)
def test_unknown_option_ends_with_status_two(run, capsys, name):
    with pytest.raises(SystemExit) as exit_status:
        run(name, '--no-such-option')
    assert exit_status.value.code == 2 and 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name, words',
    [
        (name, words)
        for name in ('browse_dataset', 'demo', 'export_onnx', 'get_flops', 'test', 'train')
        for words in (['--cfg-options', 'data_root'], ['--cfg-options', 'a=[1'])
    ],
)
def test_wrong_cfg_option_ends_with_status_two(run, capsys, name, words):
    with pytest.raises(SystemExit) as exit_status:
        run(name, *MISSING[name], *words)
    assert exit_status.value.code == 2 and f'error: --cfg-options: {words[1]}' in capsys.readouterr().err
