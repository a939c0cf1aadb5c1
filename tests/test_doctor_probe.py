"""The probes that the doctor runs in processes of their own."""

import runpy

import pytest

from mmrest import doctor

probe = runpy.run_path(str(doctor.PROBE))


TORCH = """
class cuda:
    is_available = staticmethod(lambda: {gpu})
    device_count = staticmethod(lambda: 2)
    get_device_capability = staticmethod(lambda i: [(9, 0), (6, 1)][i])
    get_device_name = staticmethod('GPU {{}}'.format)
    get_arch_list = staticmethod(lambda: ['sm_80', 'sm_90'])
class version:
    cuda = '13.0'
"""
EXTENSION = "PROVIDER = 'mmrest'\nget_compiling_cuda_version = lambda: 'not available'\n"
REGISTRY = "class MODELS:\n    module_dict = {'ResT': None}\n"
# Stands for the finder that importing mmrest adds.
MMREST = "import sys, types\nsys.modules['mmcv._ext'] = ext = types.ModuleType('mmcv._ext')\nexec({!r}, vars(ext))\n"


@pytest.mark.parametrize(
    'archs, capability, expected',
    [
        (['sm_80', 'sm_90a'], (9, 0), True),
        (['sm_80'], (8, 6), True),
        (['sm_86'], (8, 0), False),
        (['sm_75', 'sm_80'], (6, 1), False),
        (['sm_80', 'sm_90'], (12, 0), False),
        (['sm_90', 'compute_90'], (12, 0), True),
        (['sm_120'], (12, 0), True),
        (['gfx942'], (9, 4), True),
    ],
)
def test_has_kernels_for_an_architecture(archs, capability, expected):
    assert probe['has_kernels'](archs, *capability) is expected


def test_collect_with_a_crashing_import_reports_the_others(tmp_path, monkeypatch):
    """The made-up modules end Python, print and raise, are fine, and are a leftover folder."""
    (tmp_path / 'crashing.py').write_text('import os; os._exit(3)')
    (tmp_path / 'raising.py').write_text('print("noise"); raise RuntimeError("broken on purpose")')
    (tmp_path / 'fine.py').write_text('__version__ = "1.0"')
    (tmp_path / 'leftover').mkdir()
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    names = ['crashing', 'raising', 'fine', 'leftover']
    facts = probe['collect']({'raising': ('pytest', 'no-such-distribution')}, (dict(zip(names, names)),))
    assert facts['crashing']['error'] == 'the import terminated Python with status 3'
    assert facts['raising']['error'] == 'RuntimeError: broken on purpose'
    assert facts['raising']['distributions'] == ['pytest'] and facts['raising']['version'] == pytest.__version__
    assert facts['fine'] == {'installed': True, 'version': '1.0', 'distributions': []}
    assert facts['leftover'] == {'installed': False}


@pytest.mark.parametrize('written', [False, True])
def test_collect_looks_up_operators_with_and_without_mmrest(tmp_path, monkeypatch, written):
    """The real probes in their two processes, on made-up packages that do not need torch."""
    for name, text in {
        'torch.py': TORCH.format(gpu=True),
        'mmcv/__init__.py': '',
        'mmengine/__init__.py': '',
        'mmengine/registry.py': REGISTRY,
        'mmrest/__init__.py': MMREST.format(EXTENSION),
        'mmdet/__init__.py': '',
        'mmdet/models.py': 'import mmcv._ext',
        **({'mmcv/_ext.py': EXTENSION} if written else {}),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    imports = ({'torch': 'torch', 'mmcv_ops': 'mmcv'}, {'mmdet': 'mmdet.models', 'mmrest': 'mmrest'})
    facts = probe['collect']({}, imports)
    assert facts['torch']['devices'] == [['GPU 0', 'sm_90', True], ['GPU 1', 'sm_61', False]]
    assert facts['mmcv_ops'].get('provider') == ('mmrest' if written else None)
    assert ("No module named 'mmcv._ext'" in facts['mmcv_ops'].get('error', '')) is not written
    assert facts['mmrest']['registered'] and facts['mmrest']['ops'] == {'provider': 'mmrest', 'cuda': None}
    assert 'error' not in facts['mmdet']  # since mmrest is imported before it
