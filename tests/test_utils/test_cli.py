"""Values and paths on command lines, as they are typed."""

import os
import re

import pytest
from conftest import REPO
from mmengine.config import DictAction

from mmrest.utils.cli import (
    ArgumentParser,
    ConfigOptions,
    add_cfg_options,
    add_shape,
    integer,
    parse_value,
    read_options,
)


@pytest.mark.parametrize(
    'text',
    [
        '1',
        '0.5',
        '1e-4',
        'true',
        'False',
        'None',
        'a',
        '',
        'a,b',
        '1,2,3',
        '[1,2]',
        '(1,2)',
        '[(1,2,3),[a,b],c]',
        '()',
        '[]',
        '(1,)',
        '"[a,b]"',
        "'a'",
        '[True,None]',
        '/data/set/',
        'a(b)',
        'a)b',
        '[a]',
        '1,',
        "('a','b')",
    ],
)
def test_parse_value_without_blanks_equals_mmengine(text):
    assert parse_value(text) == DictAction._parse_iterable(text)
    assert type(parse_value(text)) is type(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    'text, value',
    [
        ('/data/my set/', '/data/my set/'),
        (" /data/Tom's set/ ", "/data/Tom's set/"),
        ("('traffic light','stop sign')", ('traffic light', 'stop sign')),
        ('[traffic light, stop sign]', ['traffic light', 'stop sign']),
        ("('a, b', 'c]')", ('a, b', 'c]')),
        ("(Tom's, Ann's)", ("Tom's", "Ann's")),
        ('[1, 2.5, (3, 4)]', [1, 2.5, (3, 4)]),
        ('~/my set', os.path.expanduser('~/my set')),
        ('[~/a, b~]', [os.path.expanduser('~/a'), 'b~']),
        ('fotos/größe', 'fotos/größe'),
    ],
)
def test_parse_value_blanks_quotes_and_home_are_kept(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    'option, message',
    [
        ('data_root', 'is not of the form KEY=VALUE'),
        ('=3', 'is not of the form'),
        ('a=[1,2', 'brackets do not match'),
        ('a=1,2)', 'brackets do not match'),
    ],
)
def test_cfg_options_unreadable_is_one_message(option, message, capsys):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', option])
    assert message in capsys.readouterr().err


def test_argument_parser_adds_options_and_expands_home():
    parser = ArgumentParser()
    parser.add_argument('paths', nargs='*')
    parser.add_argument('--work-dir', default='~/x')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    args = parser.parse_args(
        ['~/a', 'b~', '--work-dir=~/y z', '--cfg-options', 'a=1', 'b.c=x y', '--cfg-options', 'd=~']
    )
    home = os.path.expanduser('~')
    assert args.paths == [f'{home}/a', 'b~'] and args.work_dir == f'{home}/y z'
    assert args.cfg_options == {'a': 1, 'b.c': 'x y', 'd': home}
    assert parser.parse_args([]).work_dir == f'{home}/x' and parser.parse_args([]).cfg_options is None


@pytest.mark.parametrize('path', sorted((REPO / 'mmrest/commands').glob('*.py')), ids=lambda path: path.stem)
def test_commands_use_the_parser_and_the_config_options_of_this_package(path):
    text = path.read_text()
    assert (
        'argparse.ArgumentParser(' not in text
        and 'DictAction' not in text
        and not re.search(r"add_argument\(\s*'--cfg-options'", text)
    )


@pytest.mark.parametrize(
    'default, shown',
    [(3, '; default: 3'), ((1, 2), '; default: 1 2'), ('50%', '; default: 50%'), (None, ''), (False, '')],
)
def test_add_argument_default_is_shown_if_it_says_something(default, shown):
    parser = ArgumentParser()
    parser.add_argument('--x', default=default, help='a number')
    assert f'a number{shown}\n' in ' '.join(parser.format_help().split(' ')).replace('\n ', '\n')
    assert parser.parse_args([]).x == default


def test_add_argument_default_in_the_help_is_not_repeated():
    parser = ArgumentParser()
    parser.add_argument('--x', default=3, help='a number; default: the third')
    assert parser.format_help().count('default:') == 1


@pytest.mark.parametrize('text', ['0', '-1', '1.5', 'x', ''])
def test_integer_below_the_minimum_or_not_one_is_refused(text, capsys):
    parser = ArgumentParser()
    parser.add_argument('--x', type=integer(1))
    with pytest.raises(SystemExit, match='2'):
        parser.parse_args([f'--x={text}'])
    assert f'{text} is not an integer of at least 1.' in capsys.readouterr().err
    assert parser.parse_args(['--x', '1']).x == 1


def test_shape_that_is_repeated_is_a_list_of_shapes():
    once, repeated = ArgumentParser(), ArgumentParser()
    add_shape(once, (1, 2))
    add_shape(repeated, None, repeated=True)
    assert once.parse_args([]).shape == (1, 2) and once.parse_args(['--shape', '3', '4']).shape == [3, 4]
    assert repeated.parse_args(['--shape', '3', '4', '--shape', '5', '6']).shape == [[3, 4], [5, 6]]


def test_cfg_options_as_text_are_handed_on_unread():
    parser = ArgumentParser()
    add_cfg_options(parser, as_text=True)
    assert parser.parse_args([]).cfg_options == []
    given = parser.parse_args(['--cfg-options', 'a=[1,2]', '--cfg-options', 'b="x y"']).cfg_options
    assert given == ['a=[1,2]', 'b="x y"']
    assert read_options(given) == {'a': [1, 2], 'b': 'x y'} and read_options([]) == {}
