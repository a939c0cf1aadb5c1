"""Batches of images that differ in size: refused where nothing pads them."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader

from mmrest.datasets.validation import DataError
from mmrest.engine.batches import SameSizeCollate, check_image_sizes

SIZES = [(8, 8)] * 4 + [(8, 12)] * 2


def sample(size, number=0, views=None):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    meta = BaseDataElement(metainfo=dict(img_path=f'{number}.png'))
    return dict(inputs=[image] * views if views else image, data_samples=[meta] if views else meta)


def loader_of(sizes, phase, model, batch_size=4, collate=pseudo_collate, views=None):
    dataset = [sample(size, number, views) for number, size in enumerate(sizes)]
    loader = DataLoader(dataset, batch_size, collate_fn=partial(collate))
    config = dict(name=phase)
    runner = SimpleNamespace(model=model, _train_dataloader=None, _val_dataloader=None, _test_dataloader=None)
    setattr(runner, f'_{phase}_dataloader', config)
    check_image_sizes(loader, runner, config)
    return loader


def model_with(**preprocessor):
    models = pytest.importorskip('mmseg.models')
    model = nn.Module()
    model.data_preprocessor = models.SegDataPreProcessor(**preprocessor)
    return model


@pytest.mark.parametrize('phase', ['val', 'test'])
@pytest.mark.parametrize(
    'preprocessor', [dict(size=(16, 16)), dict(size_divisor=32), dict(test_cfg=dict(size_divisor=32))]
)
@pytest.mark.parametrize('views', [None, 2])
def test_loader_segmentor_evaluating_unequal_sizes_raises(phase, preprocessor, views):
    message = '3?.*0.png has 8x8 px, 2.png has 12x8. Set ' + phase + '_dataloader.batch_size=1, or'
    model = model_with(**preprocessor)
    with pytest.raises(DataError, match=message):
        loader_of([(8, 8), (8, 8), (8, 12)], phase, model, views=views)
    loader_of([(8, 8), (8, 12)], phase, model, batch_size=1, views=views)
    assert len(list(loader_of([(8, 8)] * 5, phase, model, views=views))) == 2


def test_loader_unequal_sizes_in_different_batches_pass():
    loader = loader_of(SIZES, 'val', model_with(size=(16, 16)))
    assert len(list(loader)) == 2
    late = loader_of([(8, 8)] * 9 + [(8, 12)], 'val', model_with(size=(16, 16)), batch_size=2)
    with pytest.raises(DataError, match='8.png has 8x8 px, 9.png has 12x8'):
        list(late)


def test_loader_segmentor_training_needs_a_padding_preprocessor():
    unequal = [(8, 8), (8, 12)]
    for fine in (dict(size=(12, 12)), dict(size=(8, 12)), dict(size_divisor=4)):
        assert len(list(loader_of(unequal, 'train', model_with(**fine)))) == 1
    with pytest.raises(DataError, match='0.png has 8x8 px, 1.png has 12x8. Set data_preprocessor.size_divisor=32'):
        list(loader_of(unequal, 'train', model_with(size=(8, 8))))
    for wrong in (dict(), dict(size=(8, 8), size_divisor=32)):
        with pytest.raises(DataError, match='Set either data_preprocessor.size'):
            loader_of([(8, 8)], 'train', model_with(**wrong), batch_size=1)


def test_loader_that_stacks_unequal_sizes_raises():
    for phase in ('train', 'test'):
        with pytest.raises(DataError, match='0.png has 8x8 px, 1.png has 12x8'):
            list(loader_of([(8, 8), (8, 12)], phase, nn.Identity(), collate=default_collate))
        assert len(list(loader_of([(8, 8), (8, 8)], phase, nn.Identity(), collate=default_collate))) == 1


def test_loader_of_a_padding_model_is_left_alone():
    for phase in ('train', 'val'):
        loader = loader_of([(8, 8), (8, 12)], phase, nn.Identity())
        assert not isinstance(loader.collate_fn, SameSizeCollate) and len(list(loader)) == 1


def test_one_size_in_a_worker_raises_the_same_message():
    dataset = [sample((8, 8), 0), sample((8, 12), 1)]
    loader = DataLoader(dataset, 2, num_workers=1, collate_fn=SameSizeCollate(pseudo_collate, (0, 0), 'Do this.'))
    with pytest.raises(DataError) as error:
        list(loader)
    assert (
        str(error.value) == 'The images of a batch differ in size after the pipeline: 0.png has 8x8 px, 1.png has '
        '12x8. Do this.'
    )
    assert SameSizeCollate(len, (0, 0), '')([1, 2]) == 2  # of datasets of one's own
