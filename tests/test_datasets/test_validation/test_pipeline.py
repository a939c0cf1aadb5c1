"""Pipelines that name the file a step failed on."""

import pytest

from mmrest.datasets.validation import DataError
from mmrest.datasets.validation.pipeline import ValidatedPipeline


@pytest.mark.parametrize('backend_args', [dict(backend='petrel', path_mapping={'data/': 's3://'}), None])
@pytest.mark.parametrize('stock', [True, False])
def test_pipeline_path_on_other_storage_is_left_to_its_loader(backend_args, stock):
    """A stock loader of local files finds that there is none; one of one's own may know better."""

    class LoadFromStorage:
        def __call__(self, data):
            return {**data, 'img': None}

    LoadFromStorage.backend_args = backend_args
    if stock:
        LoadFromStorage.__module__ = 'mmcv.transforms.loading'
    pipeline = ValidatedPipeline([LoadFromStorage()])
    if backend_args or not stock:
        assert pipeline(dict(img_path='data/x.jpg')) == dict(img_path='data/x.jpg', img=None)
    else:
        with pytest.raises(DataError, match='data/x.jpg'):
            pipeline(dict(img_path='data/x.jpg'))
