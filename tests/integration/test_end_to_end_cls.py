"""The tools on an image classifier of mmpretrain, with a folder of a few drawn images for each class."""

import re

import cv2
import numpy as np
import pytest
from conftest import need_mmpretrain
from helpers.report_pages import ReportPage

pytest.importorskip('mmcv._ext')

CLASSES = ('dark', 'light')
CONFIG = """
_base_ = '{repo}/configs/{name}.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8),
                            sr_ratios=(8, 4, 2, 1))),
    head=dict(in_channels=32, num_classes=2, topk=(1, )))
data_preprocessor = dict(num_classes=2)
few = dict(metainfo=dict(classes={classes}))
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=few)
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=few)
test_dataloader = val_dataloader
val_evaluator = dict(topk=1)
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """train/<class>/*.png and val/<class>/*.png, of odd sizes; the classes differ in brightness."""
    need_mmpretrain()
    root = tmp_path_factory.mktemp('images')
    random = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 3)):
        for low, name in zip((0, 160), CLASSES):
            (root / split / name).mkdir(parents=True)
            for i in range(count):  # names are unique, as in ImageNet: painted images lie in one folder
                image = random.integers(low, low + 90, (60 + 7 * i, 81, 3), dtype=np.uint8)
                cv2.imwrite(str(root / split / name / f'{name}_{i}.png'), image)
    return root


@pytest.mark.parametrize(
    'name',
    [
        'restv2_tiny_8xb256_in1k',
        pytest.param('rest_lite_8xb256_in1k', marks=pytest.mark.slow),
        pytest.param('ablations/rest_lite_8xb256-ablation_in1k', marks=pytest.mark.slow),
    ],
)
def test_train_and_test_classifier_prints_accuracy_and_paints(run, repo, folder, tmp_path, own_process_state, name):
    (tmp_path / 'cls.py').write_text(CONFIG.format(repo=repo, name=name, classes=CLASSES))

    def logged(tool, *args):
        before = set((tmp_path / 'work_dirs').glob('**/*.log'))
        run(tool, 'cls.py', *args, '--cfg-options', f'data_root={folder}')
        (log,) = set((tmp_path / 'work_dirs').glob('**/*.log')) - before
        return log.read_text()

    out = logged('train', '--auto-scale-lr')
    assert len(re.findall(r'Epoch\(train\)', out)) == 4
    assert re.search(r'Batch: 4 images .* made for 2048 and was scaled to', out)
    assert len(re.findall(r'accuracy/top1: [0-9.]+', out)) == 2
    out = logged(
        'test', 'work_dirs/cls/epoch_2.pth', '--out', 'scores.pkl', '--show-dir', 'painted', '--report', 'page'
    )
    assert 'accuracy/top1: ' in out and '100.0% of the model' in out
    assert (tmp_path / 'scores.pkl').stat().st_size > 0
    assert len(list((tmp_path / 'painted').glob('*.png'))) == 6
    page = ReportPage(tmp_path / 'page/index.html')
    accuracy = float(re.findall(r'accuracy/top1: ([0-9.]+)', out)[-1])
    correct = sum(map(int, page.column('classes', 'correct').values()))
    assert float(page.cards['accuracy/top1']) == pytest.approx(accuracy, abs=0.01)
    assert correct == round(6 * accuracy / 100) and set(page.column('classes', 'images').values()) == {'3'}
    assert sum(int(text or 0) for row in page.tables['confusion'][1:] for text in row[1:]) == 6
    assert len(page.pictures) == 2 * (6 + 6 - correct)  # all as examples, and those with a wrong class
    assert 'svg' in page.tags  # the curves of the training
