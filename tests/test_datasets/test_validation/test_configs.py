"""Datasets and metrics found in the config of a run."""

import pytest
from mmengine.registry import DATASETS

from mmrest.datasets.validation.configs import dataset_class, nested_datasets, nested_metrics

PLAIN, OWN = dict(type='A'), dict(type='B', pipeline=['own'])


@pytest.mark.parametrize(
    'config, expected',
    [
        (PLAIN, [(PLAIN, [])]),
        ([PLAIN, OWN], [(PLAIN, []), (OWN, ['own'])]),
        (dict(type='Concat', datasets=[PLAIN, OWN]), [(PLAIN, []), (OWN, ['own'])]),
        (dict(type='Mix', pipeline=['outer'], dataset=PLAIN), [(PLAIN, ['outer'])]),
        (dict(type='Mix', pipeline=['outer'], dataset=dict(type='Repeat', dataset=OWN)), [(OWN, ['own'])]),
        (None, []),
    ],
    ids=['plain', 'list', 'concatenated', 'outer pipeline', 'own pipeline', 'none'],
)
def test_nested_datasets_yields_each_with_its_pipeline(config, expected):
    assert list(nested_datasets(config)) == expected


@pytest.mark.parametrize(
    'config, expected',
    [(PLAIN, [PLAIN]), ([PLAIN, OWN], [PLAIN, OWN]), (dict(metrics=[PLAIN, OWN]), [PLAIN, OWN]), (None, [])],
    ids=['one', 'list', 'wrapped', 'none'],
)
def test_nested_metrics_yields_each(config, expected):
    assert list(nested_metrics(config)) == expected


def test_dataset_class_finds_registered_and_given_classes(monkeypatch):
    class Registered:
        pass

    monkeypatch.setitem(DATASETS.module_dict, 'Registered', Registered)
    assert dataset_class(dict(type='Registered'), 'mmengine') is Registered
    assert dataset_class(dict(type=Registered)) is Registered
    assert dataset_class(dict(type='NoSuchDataset'), 'mmengine') is None
