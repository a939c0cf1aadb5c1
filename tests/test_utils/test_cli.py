"""Values and paths on command lines, as they are typed."""

import os

import pytest
from mmengine.config import DictAction

from mmrest.utils.cli import ArgumentParser, ConfigOptions, parse_value


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


def test_tools_use_the_common_parser(repo):
    for path in sorted((repo / 'tools').glob('*.py')):
        text = path.read_text()
        if path.name not in ('setup_env.py', 'doctor.py'):  # which run without mmengine
            assert 'argparse.ArgumentParser(' not in text and 'DictAction' not in text, path
