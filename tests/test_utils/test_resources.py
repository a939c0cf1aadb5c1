"""Names of the configs that came with the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mmrest
from mmrest.utils import resources


# --- names of configs ---
def test_config_name_becomes_its_path(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = mmrest.list_configs()
    on_disk = {path for path in (repo / 'configs').rglob('*.py') if '_base_' not in path.parts}
    assert {Path(mmrest.get_config_path(name)) for name in names} == on_disk and len(names) == len(on_disk)
    for name in ('published/rest_lite_224_in1k_3rdparty', 'published/rest_lite_224_in1k_3rdparty.py'):
        assert mmrest.get_config_path(name) == str(repo / 'configs/published/rest_lite_224_in1k_3rdparty.py')
    assert Path(mmrest.get_config_path('_base_/schedules/adamw_1x')).is_file()


@pytest.mark.parametrize(
    'name, hint',
    [
        ('retinanet_rest_smal_fpn_1x_coco', 'Did you mean retinanet_rest_small_fpn_1x_coco'),
        ('rest_lite_224_in1k_3rdparty.py', 'Did you mean published/rest_lite_224_in1k_3rdparty?'),
        ('../setup', '--list'),
        ('', '--list'),
        ('???', '--list'),
    ],
)
def test_unknown_config_name_is_one_error_with_a_hint(name, hint, capsys):
    with pytest.raises(FileNotFoundError, match=re.escape(hint)):
        mmrest.get_config_path(name)
    with pytest.raises(SystemExit) as status:
        resources.main([name])
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('error: mmrest has no config') and hint in error and len(error.splitlines()) == 1


def test_installation_without_configs_says_so(monkeypatch, tmp_path):
    (tmp_path / 'site' / 'mmrest').mkdir(parents=True)
    (tmp_path / 'site' / 'configs').mkdir()  # another project's
    monkeypatch.setattr(resources, 'PACKAGE', tmp_path / 'site' / 'mmrest')
    with pytest.raises(FileNotFoundError, match='reinstall it'):
        mmrest.list_configs()


def test_config_path_command_prints_paths(repo, capsys):
    for args, expected in (
        (['upernet_rest_lite_shapes'], repo / 'configs/upernet_rest_lite_shapes.py'),
        (['--tools'], repo / 'tools'),
    ):
        resources.main(args)
        assert capsys.readouterr().out == f'{expected}\n'
    resources.main(['--list'])
    assert capsys.readouterr().out.split() == mmrest.list_configs()


@pytest.mark.parametrize('pattern', ['retinanet', 'RetinaNet', '^retinanet.*coco$', 'mask_rcnn|published/'])
def test_grep_prints_the_matching_names(pattern, capsys):
    resources.main(['--grep', pattern])
    found = capsys.readouterr().out.split()
    assert found and found == [name for name in mmrest.list_configs() if re.search(pattern.lower(), name)]


@pytest.mark.parametrize(
    'pattern, message', [('yolo', 'mmrest has no config with yolo in its name'), ('[', r'\[ is no regular expression')]
)
def test_grep_without_a_match_is_one_error(pattern, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        resources.main(['--grep', pattern])
    printed = capsys.readouterr()
    assert re.match(f'error: {message}.*\n$', printed.err) and not printed.out
