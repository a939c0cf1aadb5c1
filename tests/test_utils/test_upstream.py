"""Libraries are found whatever the distribution is called that they come in."""

import importlib.metadata

import pytest
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config

from mmrest.utils import upstream

pytestmark = pytest.mark.matrix


@pytest.fixture
def table(monkeypatch):
    """mmengine's table as it ships, until the end of the test."""
    for module, package in dict(mmseg='mmsegmentation', mmaction='mmaction2').items():
        monkeypatch.setitem(MODULE2PACKAGE, module, package)
    return MODULE2PACKAGE


def test_get_config_of_every_library_is_found():
    for name in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(name)
        assert get_config(f'{name}::_base_/default_runtime.py').default_scope == name


def test_locate_libraries_other_distribution_is_mapped(table, monkeypatch):
    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(upstream, 'distribution', distribution)
    monkeypatch.setattr(upstream, 'find_spec', lambda name: object() if name == 'mmseg' else None)
    upstream.locate_libraries()
    assert table['mmseg'] == 'mmseg'
    assert table['mmaction'] == 'mmaction2', 'what is not there keeps the name that one installs it by'


def test_locate_libraries_own_distribution_is_kept(table, monkeypatch):
    monkeypatch.setattr(upstream, 'distribution', lambda name: name)
    upstream.locate_libraries()
    assert table['mmseg'] == 'mmsegmentation'
