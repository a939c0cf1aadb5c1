"""The file in mmcv that takes the operators from mmrest."""

from __future__ import annotations

import pytest
import torch
from helpers.mmcv_folders import USE_OPERATORS, run_python

from mmrest.mmcv_ops import files
from mmrest.mmcv_ops.__main__ import main


def test_installed_file_serves_any_import_order_until_removed(mmcv_lite, monkeypatch, capsys):
    monkeypatch.setattr(files, 'mmcv_folder', lambda: mmcv_lite / 'mmcv')
    for option, said in (
        ('--status', 'compiled:  no'),
        ('--install', 'Written'),
        ('--install', 'Already installed'),
        ('--status', '_ext.py'),
    ):
        main([option])
        assert said in capsys.readouterr().out
    (printed,) = run_python(mmcv_lite, USE_OPERATORS)
    assert printed.splitlines()[-2:] == ['mmrest', '[0]']
    for said in ('Removed', 'Nothing to do'):
        main(['--remove'])
        assert said in capsys.readouterr().out
    assert not (mmcv_lite / 'mmcv' / '_ext.py').exists()


@pytest.mark.parametrize(
    'cuda, build, said',
    [('13.0', '13.0', 'Nothing to do'), ('not available', None, 'Nothing to do'), ('not available', '13.0', 'Written')],
)
def test_install_beside_compiled_operators_writes_only_where_they_do_not_serve(
    compiled_mmcv, monkeypatch, capsys, cuda, build, said
):
    """The file is written only where torch can use a GPU that compiled operators do not serve, and shadows them."""
    folder = compiled_mmcv(cuda)
    before = set(folder.rglob('*'))
    monkeypatch.setattr(torch.version, 'cuda', build)
    main(['--install'])
    assert said in capsys.readouterr().out
    if said == 'Written':
        assert (folder / '_ext' / '__init__.py').read_text() == files.LINE
        main(['--remove'])
    assert set(folder.rglob('*')) == before


def test_install_leaves_a_foreign_file_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, 'mmcv_folder', lambda: tmp_path)
    (tmp_path / '_ext.py').write_text('mine = True\n')
    with pytest.raises(SystemExit) as status:
        main(['--install'])
    assert status.value.code == 2 and 'not from mmrest' in capsys.readouterr().err
    main(['--remove'])
    assert (tmp_path / '_ext.py').read_text() == 'mine = True\n'
    monkeypatch.setattr(files, 'mmcv_folder', lambda: None)
    with pytest.raises(SystemExit):
        main(['--status'])
    assert 'mmcv is not installed' in capsys.readouterr().err
