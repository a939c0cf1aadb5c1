"""Checks of places to write to, before work starts."""

import pytest

from mmrest.engine import UsageError, check_target
from mmrest.engine.paths import similar


def test_check_target_unwritable_place_raises(tmp_path):
    file = tmp_path / 'file'
    file.write_text('')
    for good in (None, tmp_path, tmp_path / 'new/folder', 's3://bucket/x'):
        check_target(good, '--out')
    check_target(tmp_path / 'new/x.json', '--out', folder=False)
    for bad, folder in ((file, True), (file / 'x/y', True), (file / 'x.json', False), (tmp_path, False)):
        with pytest.raises(UsageError, match='^--out '):
            check_target(bad, '--out', folder=folder)


@pytest.mark.parametrize(
    'name, said',
    [
        ('my_smal.py', 'Did you mean {}/my_small.py?'),
        ('my_small', 'Did you mean {}/my_small.py?'),
        ('nofile.py', 'Check the path.'),  # like infer.py in its suffix alone
        ('my_small.pth', 'Check the path.'),
    ],
)
def test_similar_suggests_files_by_their_names_without_suffix(tmp_path, name, said):
    for other in ('infer.py', 'my_small.py'):
        (tmp_path / other).touch()
    assert similar(tmp_path / name) == ' ' + said.format(tmp_path)


def test_similar_suggests_the_last_checkpoints_of_a_run_first(tmp_path):
    for number in (1, 2, 3, 9, 10, 11):
        (tmp_path / f'epoch_{number}.pth').touch()
    epochs = ' or '.join(f'{tmp_path}/epoch_{number}.pth' for number in (11, 10, 9))
    assert similar(tmp_path / 'epoch_12.pth') == f' Did you mean {epochs}?'
