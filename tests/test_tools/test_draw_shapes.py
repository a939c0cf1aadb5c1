"""tools/draw_shapes.py: a folder that cannot be drawn into, and arguments out of range, are one message."""

import re

import pytest

SMALL = ('--num-train', 2, '--num-val', 2, '--shape', 32, 32)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize(
    'args, message',
    [
        (['file'], 'root file: .*file is not a writable folder'),
        (['file/below/it'], 'root file/below/it: .*file is not a writable folder'),
        (['drawn', '--seed', '1'], 'drawn holds a dataset drawn with .* not with'),
        (['foreign'], 'mine.txt is not a file of a shapes dataset'),
        (['blocked'], 'blocked/images'),
    ],
)
def test_mistakes_are_one_message(run, tmp_path, capsys, args, message):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'foreign/images').mkdir(parents=True)
    (tmp_path / 'foreign/images/mine.txt').write_text('mine')
    (tmp_path / 'blocked').mkdir()
    (tmp_path / 'blocked/images').write_text('mine')
    run('draw_shapes', 'drawn', *SMALL)
    before = files(tmp_path)
    with pytest.raises(SystemExit) as exit_status:
        run('draw_shapes', *SMALL, *args)
    assert exit_status.value.code == 2
    error = capsys.readouterr().err
    assert re.match(f'error: .*{message}', error) and error.count('\n') == 1
    assert files(tmp_path) == before


def test_a_data_set_that_is_there_need_not_be_writable(run, tmp_path, monkeypatch):
    run('draw_shapes', 'drawn', *SMALL)
    monkeypatch.setattr('os.access', lambda *args, **kwargs: False)
    run('draw_shapes', 'drawn', *SMALL)
