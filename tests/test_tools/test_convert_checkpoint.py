"""The tool that converts checkpoints."""

import pytest
import torch
from helpers.hostile import RunsCommand
from published_files import make, save

from mmrest.checkpoints import load_file


@pytest.fixture
def source(tiny, tmp_path):
    save(make('detectron2-retinanet', 'rest', tiny), tmp_path / 'theirs.pth', 'detectron2-retinanet')
    return tmp_path / 'theirs.pth'


def test_convert_checkpoint_writes_or_ends_in_one_message(run, source, tmp_path, capsys):
    run('convert_checkpoint', 'theirs.pth', 'ours.pth')
    out = capsys.readouterr().out
    assert 'theirs.pth is a RetinaNet of detectron2 with rest_custom' in out and out.endswith('written to ours.pth\n')
    assert load_file(tmp_path / 'ours.pth')['meta']['target'] == 'retinanet'
    content = (tmp_path / 'ours.pth').read_bytes()

    def message(*args):
        with pytest.raises(SystemExit) as stopped:
            run('convert_checkpoint', 'theirs.pth', 'ours.pth', *args, '--overwrite')
        assert stopped.value.code == 2
        return capsys.readouterr().err

    assert message('--to', 'upernet').startswith('error: theirs.pth is a RetinaNet')
    torch.save({'model': load_file(source)['model'], 'x': RunsCommand(f'touch {tmp_path}/it_ran')}, source)
    assert message().startswith('error: theirs.pth is refused')
    assert (tmp_path / 'ours.pth').read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']
