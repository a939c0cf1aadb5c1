"""mmdet's own tools on mmdet's own config, with nothing but the backbone replaced."""

import json
import os
import sys
from pathlib import Path

import pytest
from conftest import run_process
from helpers.detector_runs import UPSTREAM, steps, upstream_options

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')


def test_mmdet_train_tool_with_our_backbone_trains_and_resumes(repo, shapes, tmp_path):
    import mmdet

    config = tmp_path / 'own.py'
    config.write_text(UPSTREAM)
    options = upstream_options(shapes)
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    train = [sys.executable, tool, config, '--work-dir', 'run']
    assert len(steps(run_process([*train, '--cfg-options', *options], tmp_path, environment))) == 2
    records = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    assert [record for record in records if not json.loads(record)['loss'] > 0] == []
    # mmdet's own tool resumes as well: the import lets torch read what mmengine saves.
    resumed = run_process(
        [*train, '--resume', '--cfg-options', *options, 'train_cfg.max_epochs=2'], tmp_path, environment
    )
    assert sorted(steps(resumed)) == [(2, 1), (2, 2)]
