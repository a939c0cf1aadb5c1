"""The wheel in an environment without the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import run_process
from helpers.wheels import build, clean_environment, copy_sources


@pytest.fixture(scope='module')
def wheel(repo, tmp_path_factory) -> Path:
    pytest.importorskip('wheel')
    source = copy_sources(repo, tmp_path_factory.mktemp('packaging') / 'source')
    return build('wheel', source, source.parent / 'dist')


INFER = """
import sys
import mmrest
from mmdet.apis import DetInferencer
config, checkpoint, image = sys.argv[1:]
found = DetInferencer(config, checkpoint, device='cpu')(image, out_dir='painted')['predictions'][0]
print('found', len(found['scores']), 'classes', len(found['labels']), mmrest.__file__)
"""


@pytest.fixture(scope='module')
def python(wheel) -> Path:
    """Python of an environment with the wheel and the other packages of this one, but without the repository."""
    folder = wheel.parents[1] / 'venv'
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', str(folder)])
    python = folder / 'bin' / 'python'
    own = Path(run_process([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'], folder).strip())
    # A folder named so is searched, but what hangs on files .pth in it, as an editable installation does, is not.
    (own / 'others.pth').write_text('\n'.join({sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}))
    run_process(
        [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-deps', '--no-index', wheel],
        folder,
        clean_environment(),
    )
    printed = run_process([python, '-c', 'import mmrest; print(mmrest.__file__)'], folder, clean_environment())
    assert Path(printed.strip()) == own / 'mmrest' / '__init__.py'
    assert (own / 'mmrest' / '.mim' / 'configs').is_dir()
    return python


@pytest.mark.slow
def test_mmdet_config_and_inferencer_in_a_fresh_environment_train_and_predict(python, shapes, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    import mmdet
    from helpers.detector_runs import UPSTREAM, steps, upstream_options

    (tmp_path / 'own.py').write_text(UPSTREAM)
    train = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    log = run_process(
        [python, train, 'own.py', '--work-dir', 'run', '--cfg-options', *upstream_options(shapes)],
        tmp_path,
        clean_environment(),
    )
    assert sorted(steps(log)) == [(1, 1), (1, 2)]
    image = next((shapes / 'images' / 'val').glob('*.png'))
    printed = run_process([python, '-c', INFER, 'own.py', 'run/epoch_1.pth', image], tmp_path, clean_environment())
    found = re.search(r'found (\d+) classes (\d+) (\S+)', printed)
    assert found and found[1] == found[2] and Path(found[3]).is_relative_to(python.parents[1])
    assert (tmp_path / 'painted' / 'vis' / image.name).stat().st_size > 0


@pytest.mark.slow
def test_installed_demo_in_any_folder_writes_only_there(python, tmp_path):
    """The demo of a small network writes only to the current folder."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    options = [
        'train_cfg.max_epochs=1',
        'train_dataloader.dataset.indices=16',
        'val_dataloader.dataset.indices=8',
        'test_dataloader.dataset.indices=8',
        'model.test_cfg.score_thr=0.0',
    ]  # or it would find nothing
    command = [python.with_name('mmrest'), 'demo', '--cfg-options', *options]
    printed = run_process(command, tmp_path, clean_environment(), timeout=600)
    assert 'Done in' in printed
    assert {path.name for path in tmp_path.iterdir()} == {'data', 'work_dirs'}
    assert (tmp_path / 'work_dirs/demo/predictions.png').is_file()
