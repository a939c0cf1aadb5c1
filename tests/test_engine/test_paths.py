"""Checks of places to write to, before work starts."""

import pytest

from mmrest.engine import UsageError, check_target


def test_check_target_unwritable_place_raises(tmp_path):
    file = tmp_path / 'file'
    file.write_text('')
    for good in (None, tmp_path, tmp_path / 'new/folder', 's3://bucket/x'):
        check_target(good, '--out')
    check_target(tmp_path / 'new/x.json', '--out', folder=False)
    for bad, folder in ((file, True), (file / 'x/y', True), (file / 'x.json', False), (tmp_path, False)):
        with pytest.raises(UsageError, match='^--out '):
            check_target(bad, '--out', folder=folder)
