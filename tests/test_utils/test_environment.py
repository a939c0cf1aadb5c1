"""Names and versions of what computes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmrest import __version__
from mmrest.utils import environment


@pytest.mark.parametrize(
    'content, name',
    [
        ('vendor_id\t: X\nmodel name\t: Fast CPU: 3 GHz\nmodel name\t: Fast CPU: 3 GHz\n', 'Fast CPU: 3 GHz'),
        ('model name\t:\n', 'arm'),
        (None, 'arm'),
    ],
)
def test_processor_name_is_that_of_the_system_or_the_machine(monkeypatch, content, name):
    def read(path, **kwargs):
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, 'read_text', read)
    monkeypatch.setattr(environment.platform, 'processor', lambda: '')
    monkeypatch.setattr(environment.platform, 'machine', lambda: 'arm')
    assert environment.processor_name() == name


def test_device_name_of_a_cpu_has_its_threads(monkeypatch):
    monkeypatch.setattr(environment, 'processor_name', lambda: 'CPU')
    for threads, text in ((1, 'CPU, 1 thread'), (4, 'CPU, 4 threads')):
        monkeypatch.setattr(torch, 'get_num_threads', lambda threads=threads: threads)
        assert environment.device_name(torch.device('cpu')) == text


def test_device_name_of_a_gpu_is_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: f'GPU {device.index}')
    assert environment.device_name(torch.device('cuda:1')) == 'GPU 1'


def test_versions_are_of_imported_libraries_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmseg', SimpleNamespace(__version__='9.9'))
    monkeypatch.delitem(sys.modules, 'mmpretrain', raising=False)
    found = environment.versions()
    assert (found['mmrest'], found['torch'], found['mmseg']) == (__version__, torch.__version__, '9.9')
    assert 'mmpretrain' not in found and found['Python'].startswith('3.')
