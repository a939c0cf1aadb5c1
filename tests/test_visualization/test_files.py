"""Names of painted images, and datasets whose images share one."""

from __future__ import annotations

import json
import shutil

import pytest
from mmengine.config import Config

from mmrest.engine import UsageError
from mmrest.visualization.files import PaintResult, check_paintable

pytest.importorskip('mmdet')
pytest.importorskip('mmcv.ops')


class Images:
    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def test_check_paintable_refuses_images_of_one_name():
    for good in (Images('a/1.png', 'b/2.png'), Images('a/1.png', 'a/1.png'), Images(), [1, 2]):
        check_paintable(good, '--show-dir')
    with pytest.raises(UsageError, match='--show-dir: 2 images are called 1.png, such as a/1.png and b/1.png'):
        check_paintable(Images('a/1.png', 'c/2.png', 'b/1.png'), '--show-dir')


def test_test_tool_with_images_of_one_name_is_refused_before_testing(
    run, configs, checkpoint, shapes, tmp_path, capsys
):
    data = shutil.copytree(shapes, tmp_path / 'data')
    path = data / 'annotations/instances_val.json'
    content = json.loads(path.read_text())
    for number, image in enumerate(content['images']):
        target = data / f'images/val/cam{number}/0001.png'
        target.parent.mkdir()
        (data / 'images/val' / image['file_name']).rename(target)
        image['file_name'] = f'cam{number}/0001.png'
    path.write_text(json.dumps(content))
    arguments = configs['ResT'], checkpoint, '--work-dir', 'run', '--cfg-options', f'data_root={data}'
    with pytest.raises(SystemExit) as status:
        run('test', *arguments, '--show-dir', 'painted')
    assert status.value.code == 2
    assert '4 images are called 0001.png' in capsys.readouterr().err and not (tmp_path / 'painted').exists()


@pytest.mark.parametrize(
    'wrap',
    [lambda dataset: dataset, lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset])],
    ids=['plain', 'concat'],
)
def test_browse_of_lazy_dataset_draws_it(run, configs, shapes, tmp_path, wrap):
    cfg = Config.fromfile(configs['ResT'])
    cfg.train_dataloader.dataset.update(lazy_init=True, data_root=str(shapes))
    cfg.train_dataloader.dataset = wrap(cfg.train_dataloader.dataset)
    cfg.dump(tmp_path / 'lazy.py')
    run('browse_dataset', 'lazy.py', '--num-samples', 3, '--out-dir', 'out')
    assert len(list((tmp_path / 'out').glob('*.png'))) == 4


def test_check_paintable_refuses_unreadable_images(tmp_path):
    (tmp_path / '1.npy').write_bytes(b'an array')
    with pytest.raises(UsageError, match='--show-dir: .*1.npy is painted by a hook that cannot read it'):
        check_paintable(Images(str(tmp_path / '1.npy')), '--show-dir')


@pytest.mark.parametrize(
    'scores, said',
    [
        ([], ''),
        ([0.0, 0.3], ''),
        ([0.02, 0.1], 'No object has a score of 0.3 or more; the highest is 0.1: try --score-thr 0.05'),
        ([0.0], 'The model finds no object at all.'),
    ],
)
def test_describe_scores_says_why_nothing_is_painted(scores, said):
    assert PaintResult(scores=scores).describe_scores(0.3) == said
