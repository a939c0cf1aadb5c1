"""Targets of results: an unusable one is refused before anything is read, and files are written whole."""

import errno
import json
import re

import pytest

from mmrest.utils import fileio

# Nothing of what these read is there: that the target is what they stop at shows that it is looked at first.
TOOLS = {
    'analyze': ('--out-dir', ['erf', 'nowhere', 'none.py', 'none.pth']),
    'demo': ('--out-dir', ['nowhere.png', 'none.py', 'none.pth']),
    'browse_dataset': ('--out-dir', ['none.py']),
    'get_flops': ('--out', ['none.py']),
    'check_dataset': ('--out', ['none.py']),
}


@pytest.mark.parametrize(
    'tool, target, message',
    [
        *[(tool, 'file/new/x', 'file is not a writable folder. Choose another path') for tool in TOOLS],
        *[(tool, 'file', 'file is not a writable folder') for tool in ('analyze', 'demo', 'browse_dataset')],
        *[(tool, 'folder', 'is a folder, but a file name is expected') for tool in ('get_flops', 'check_dataset')],
        ('analyze', '.', 'erf.json is a folder'),
    ],
)
def test_a_wrong_target_is_refused_first(run, tmp_path, capsys, tool, target, message):
    (tmp_path / 'file').write_text('mine')
    for name in ('folder', 'erf.json'):
        (tmp_path / name).mkdir()
    option, args = TOOLS[tool]
    with pytest.raises(SystemExit) as exit_status:
        run(tool, *args, option, target)
    assert exit_status.value.code == 2
    error = capsys.readouterr().err
    assert re.match(f'error: {option} .*{message}', error) and error.count('\n') == 1
    assert {path.name for path in tmp_path.iterdir()} == {'file', 'folder', 'erf.json'}


@pytest.mark.parametrize(
    'tool, args',
    [
        ('get_flops', ['--backbone', 'ResT', '--arch', 'lite', '--out', 'out/found.json']),
        (
            'check_dataset',
            ['--coco', '{shapes}/annotations/instances_val.json', '{shapes}/images/val', '--out', 'out/found.json'],
        ),
    ],
)
def test_results_are_written_whole(run, shapes, tmp_path, monkeypatch, tool, args):
    def write_half(file, content):
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, 'No space left on device')

    args = [arg.format(shapes=shapes) for arg in args]
    for attempt in ('to the end', 'disk full'):
        if attempt == 'disk full':
            monkeypatch.setattr(fileio, '_write', write_half)
        with pytest.raises(SystemExit) as exit_status:
            run(tool, *args)
            raise SystemExit(0)  # as check_dataset ends itself
        assert exit_status.value.code == (0 if attempt == 'to the end' else 2)
        assert json.loads((tmp_path / 'out/found.json').read_text())
        assert [path.name for path in (tmp_path / 'out').iterdir()] == ['found.json']
