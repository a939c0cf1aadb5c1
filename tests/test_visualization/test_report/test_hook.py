"""Record that the hook of a report makes, with a stand-in for a runner."""

from collections import Counter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmrest.engine import UsageError
from mmrest.visualization import ReportHook
from mmrest.visualization.report.hook import _name

pytest.importorskip('mmcv')


class Dataset:
    metainfo = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)])

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


def fake_runner(length, rank=0, world_size=1, metrics=()):
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=Dataset(length)), evaluator=SimpleNamespace(metrics=list(metrics))
    )
    return SimpleNamespace(test_loop=loop, rank=rank, world_size=world_size, model=torch.nn.Linear(1, 1))


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'gray.png'
    cv2.imwrite(str(path), np.full((4, 4, 3), 128, np.uint8))
    return path


def sample(path, wrong=0):
    """A label map of class a, of which the model takes some pixels for b."""
    predicted = torch.zeros(1, 4, 4, dtype=torch.long)
    predicted.view(-1)[:wrong] = 1
    made = BaseDataElement(
        pred_sem_seg=PixelData(data=predicted), gt_sem_seg=PixelData(data=torch.zeros(1, 4, 4, dtype=torch.uint8))
    )
    made.set_metainfo(dict(img_path=str(path), ori_shape=(4, 4)))
    return made


def collect(runner, batches, inputs=None, **settings):
    hook = ReportHook(**settings)
    hook.before_test(runner)
    for i, batch in enumerate(batches):
        hook.before_test_iter(runner, i)
        hook.after_test_iter(runner, i, dict(inputs=inputs) if inputs else None, batch)
    return hook


def test_hook_keeps_worst_images_and_evenly_spaced_ones(image):
    wrong = [0, 3, 1, 0, 7, 2, 0, 5]
    batches = [[sample(image, number) for number in wrong[i : i + 3]] for i in (0, 3, 6)]
    hook = collect(fake_runner(8), batches, num_worst=3, num_examples=2)
    hook.after_test_epoch(fake_runner(8), dict(mIoU=1.5))
    record = hook.record
    assert [picture.position for picture in record.worst] == [4, 7, 1]
    assert [picture.position for picture in record.examples] == [0, 7]
    assert record.pairs == Counter({(0, 0): 128 - sum(wrong), (0, 1): sum(wrong)}) and record.num_judged == 8
    assert [caption for caption, _ in record.worst[0].painted] == ['annotations', 'predictions']
    assert record.metrics == dict(mIoU=1.5) and record.classes == ('a', 'b')
    assert record.timings.sizes == [3, 3, 2] and len(record.timings.model) == 3
    assert record.timings.report > 0 and record.timings.device


def test_hook_of_two_processes_counts_every_image_once(image, monkeypatch):
    """Of five images, the second process gets the first one again, as the sampler of mmengine deals them."""
    wrong = [1, 2, 3, 4, 5]
    hooks = []
    for rank in (0, 1):
        dealt = [sample(image, wrong[i % 5]) for i in range(rank, 6, 2)]
        hooks.append(collect(fake_runner(5, rank, 2), [dealt[:2], dealt[2:]], num_examples=5))
    records = [hook.record for hook in hooks]
    monkeypatch.setattr('mmrest.visualization.report.hook.all_gather_object', lambda record: records)
    hooks[0].after_test_epoch(fake_runner(5, 0, 2), {})
    one = collect(fake_runner(5), [[sample(image, number) for number in wrong]], num_examples=5).record
    assert records[0].pairs == one.pairs and records[0].num_judged == 5
    for name in ('worst', 'examples'):
        found, expected = (
            [(p.position, p.text, p.painted) for p in getattr(result, name)] for result in (records[0], one)
        )
        assert found == expected


def test_hook_with_a_file_that_only_the_pipeline_reads_paints_its_image(tmp_path):
    (tmp_path / 'image.raw').write_bytes(b'no image')
    inputs = [torch.full((5, 2, 2), 65535, dtype=torch.int32)]  # five channels of 16 bits, in half of the size
    (picture,) = collect(fake_runner(1), [[sample(tmp_path / 'image.raw', 3)]], inputs).record.worst
    assert picture.fault == '' and len(picture.painted) == 2


def test_hook_with_an_image_that_cannot_be_painted_goes_on(image, tmp_path):
    batches = [[sample(tmp_path / 'gone.png', 3)], [sample(image, 2)]]
    first, second = collect(fake_runner(2), batches).record.worst
    assert 'gone.png' in first.fault and first.painted == [] and second.painted


def test_hook_of_a_metric_that_only_formats_compares_nothing(image):
    metric = SimpleNamespace(format_only=True)
    record = collect(fake_runner(1, metrics=[metric, object()]), [[sample(image, 3)]]).record
    assert record.format_only and record.pairs == {} and record.worst == []
    assert [caption for caption, _ in record.examples[0].painted] == ['predictions']


def test_hook_ignores_the_pixels_that_the_metric_ignores(image):
    record = collect(fake_runner(1, metrics=[SimpleNamespace(ignore_index=0)]), [[sample(image, 3)]]).record
    assert record.pairs == {} and record.num_judged == 0


def test_hook_of_an_unsupported_model_raises(image):
    with pytest.raises(UsageError, match='A report can be made of'):
        collect(fake_runner(1), [[BaseDataElement(pred_keypoints=torch.zeros(1))]])


@pytest.mark.parametrize(
    'path, root, name',
    [
        ('data/val/a.png', 'data', 'val/a.png'),
        ('data/val/a.png', 'data/', 'val/a.png'),
        ('/other/a.png', 'data', '/other/a.png'),
        ('data/a.png', '', 'data/a.png'),
        (None, 'data', ''),
    ],
)
def test_name_of_an_image_is_relative_to_its_dataset(path, root, name):
    made = BaseDataElement()
    made.set_metainfo(dict(img_path=path))
    assert _name(made, SimpleNamespace(data_root=root)) == name
