"""Mistakes of users: one message and an exit status."""

import pytest

from mmrest.engine import exit_on_user_error


def test_exit_on_user_error_os_error_is_one_message(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit), exit_on_user_error():
        (tmp_path / 'file/x').mkdir()
    assert capsys.readouterr().err == f'error: {tmp_path}/file/x: Not a directory.\n'
