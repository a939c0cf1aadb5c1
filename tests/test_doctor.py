"""The doctor on made-up facts: each problem users meet gets its cause and the right command."""

import copy
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mmrest import doctor

ROOT = Path(__file__).resolve().parent.parent
probe = runpy.run_path(str(doctor.PROBE))

ABSENT = {'installed': False}
LITE = {'installed': True, 'version': '2.1.0', 'distributions': ['mmcv-lite']}
COMPILED = {'installed': True, 'version': '2.1.0', 'distributions': ['mmcv']}
NO_EXT = {'error': "ModuleNotFoundError: No module named 'mmcv._ext'", 'provider': None}
HEALTHY = {
    'python': {'installed': True, 'version': '3.11.7'},
    'torch': {
        'installed': True,
        'version': '2.14.1+cu130',
        'cuda': '13.0',
        'devices': [],
        'reason': '',
        'nvidia': False,
        'hidden': False,
    },
    'mmengine': {'installed': True, 'version': '0.10.7', 'distributions': ['mmengine']},
    'setuptools': {'installed': True, 'version': '81.0.0'},
    'numpy': {'installed': True, 'version': '2.4.6'},
    'cv2': {'installed': True, 'version': '5.0.0.93'},
    'matplotlib': {'installed': True, 'version': '3.11.2'},
    'mmcv': LITE,
    'mmcv_ops': {'installed': True, 'version': '2.1.0', 'provider': 'mmrest', 'cuda': None},
    'pycocotools': {'installed': True, 'version': '2.0.11'},
    'ftfy': {'installed': True, 'version': '6.3.1'},
    'regex': {'installed': True, 'version': '2026.11.19'},
    'mmdet': {'installed': True, 'version': '3.3.0', 'distributions': ['mmdet']},
    'mmseg': {'installed': True, 'version': '1.2.2', 'distributions': ['mmsegmentation']},
    'torchvision': {'installed': True, 'version': '0.29.1+cu130'},
    'mmpretrain': {'installed': True, 'version': '1.2.0', 'distributions': ['mmpretrain']},
    'mmrest': {
        'installed': True,
        'version': '0.1.0',
        'registered': True,
        'path': 'mmrest/__init__.py',
        'ops': {'provider': 'mmrest', 'cuda': None},
    },
}
GPU = {'devices': [['NVIDIA H200', 'sm_90', True]], 'nvidia': True}
FORK = {
    'mmengine': {'version': '0.10.12', 'distributions': ['onedl-mmengine']},
    'mmcv': {'version': '2.3.6', 'distributions': ['onedl-mmcv']},
    'mmdet': {'version': '3.5.1', 'distributions': ['onedl-mmdetection']},
    'mmseg': {'version': '1.4.2', 'distributions': ['onedl-mmsegmentation']},
    'mmpretrain': {'version': '1.3.6', 'distributions': ['onedl-mmpretrain']},
}


def diagnose(**changes) -> dict[str, doctor.Finding]:
    """Findings by name, for the healthy facts with these changes."""
    facts = copy.deepcopy(HEALTHY)
    for name, change in changes.items():
        facts[name].update(change)
    return {finding.name: finding for finding in doctor.diagnose(facts)}


def failed(findings: dict[str, doctor.Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.status == 'FAIL'}


def test_healthy_environment_has_no_failure():
    findings = diagnose()
    assert not failed(findings)
    assert 'custom_imports' in findings['mmrest'].detail
    assert findings['operators'] == doctor.Finding('ok', 'operators', 'by mmrest and torchvision')


@pytest.mark.parametrize(
    'name, change, failing, cause, fix',
    [
        ('python', {'version': '3.14.0'}, 'python', 'pkgutil.find_loader', 'PYTHON=python3.11'),
        ('python', {'version': '3.9.18'}, 'python', '>= 3.10', 'PYTHON=python3.11'),
        ('torch', {'installed': False}, 'torch', 'not installed', 'torch==2.14.1'),
        (
            'torch',
            {'error': 'ImportError: libtorch_cuda.so: cannot open shared object file'},
            'torch',
            'broken',
            '--force-reinstall --no-deps torch==2.14.1',
        ),
        ('torch', {'version': '2.3.1'}, 'torch', 'torch >= 2.4', 'torch==2.14.1'),
        ('mmengine', {'installed': False}, 'mmengine', 'not installed', 'mmengine==0.10.7 "setuptools<82"'),
        ('mmengine', {'version': '1.0.0'}, 'mmengine', '< 1', 'mmengine==0.10.7'),
        ('mmcv', {'version': '2.2.0'}, 'mmcv', 'mmdet 3.3 refuses', 'mmcv-lite==2.1.0'),
        (
            'mmcv',
            {'version': '1.7.2', 'distributions': ['mmcv-full']},
            'mmcv',
            'before mmengine',
            'uninstall -y mmcv-full && python -m pip install mmcv-lite==2.1.0',
        ),
        ('mmcv', {'installed': False}, 'mmcv', 'not installed', 'mmcv-lite==2.1.0'),
        (
            'setuptools',
            {'version': '82.0.0', 'error': "ModuleNotFoundError: No module named 'pkg_resources'"},
            'setuptools',
            '82 removed pkg_resources',
            '"setuptools<82"',
        ),
        ('setuptools', {'installed': False}, 'setuptools', 'not installed', '"setuptools<82"'),
        (
            'cv2',
            {'version': '4.11.0.86', 'error': 'ImportError: libGL.so.1: cannot open shared object file'},
            'cv2',
            'libGL',
            'opencv-python-headless==4.11.0.86',
        ),
        ('numpy', {'installed': False}, 'numpy', 'not installed', 'pip install numpy'),
        (
            'pycocotools',
            {'error': 'ValueError: numpy.dtype size changed'},
            'pycocotools',
            'NumPy',
            '--upgrade --force-reinstall --no-deps pycocotools',
        ),
        ('ftfy', {'installed': False}, 'ftfy', 'does not declare', 'pip install ftfy'),
        (
            'mmseg',
            {'error': "ModuleNotFoundError: No module named 'ftfy'"},
            'mmseg',
            'does not declare',
            'pip install ftfy regex',
        ),
        (
            'mmdet',
            {'error': 'AssertionError: MMCV==2.2.0 is used but incompatible.'},
            'mmdet',
            '< 2.2.0',
            'mmcv-lite==2.1.0',
        ),
        (
            'mmdet',
            {'error': "ModuleNotFoundError: No module named 'terminaltables'"},
            'mmdet',
            'terminaltables is missing',
            'pip install terminaltables',
        ),
        (
            'mmdet',
            {'error': "ModuleNotFoundError: No module named 'yaml'"},
            'mmdet',
            'yaml is missing',
            'pip install pyyaml',
        ),
        ('mmdet', {'error': 'the import terminated Python with status -11'}, 'mmdet', 'broken', '--force-reinstall'),
        (
            'mmdet',
            {'error': "AttributeError: module 'pkgutil' has no attribute 'find_loader'"},
            'mmdet',
            '3.14',
            'PYTHON=python3.11',
        ),
        ('torchvision', {'installed': False}, 'torchvision', "replacement of mmcv's", 'torchvision==0.29.1'),
        (
            'torchvision',
            {'error': 'RuntimeError: operator torchvision::nms does not exist'},
            'torchvision',
            'another torch',
            '--force-reinstall --no-deps torchvision==0.29.1',
        ),
        ('mmrest', {'installed': False}, 'mmrest', 'not installed', 'pip install -e .'),
        ('mmrest', {'registered': False}, 'mmrest', 'not in mmengine', 'pip install -e .'),
    ],
)
def test_each_problem_is_named_with_its_fix(name, change, failing, cause, fix):
    findings = diagnose(**{name: change})
    assert failed(findings) == {failing}
    assert cause in findings[failing].detail
    assert fix in findings[failing].fix


def test_frameworks_are_optional_and_so_is_mmcv_without_them():
    absent = dict.fromkeys(
        ['mmdet', 'mmseg', 'mmpretrain', 'mmcv', 'mmcv_ops', 'torchvision', 'pycocotools', 'ftfy', 'regex'], ABSENT
    )
    findings = diagnose(**absent, mmrest={'ops': {}})
    assert not failed(findings)
    assert findings['mmcv'].status == findings['mmdet'].status == findings['mmseg'].status == 'note'


@pytest.mark.parametrize('version', ['1.26.4', '2.2.6', '2.5.5'])
def test_any_numpy_is_fine(version):
    assert diagnose(numpy={'version': version})['numpy'] == doctor.Finding('ok', 'numpy', version)


# --- where mmcv's operators come from ---

NATIVE = {'ops': {'provider': None, 'cuda': None}}
CPU_BUILD = {'mmcv': COMPILED, 'mmcv_ops': {'provider': None, 'cuda': None}, 'mmrest': NATIVE}
CUDA_BUILD = {**CPU_BUILD, 'mmcv_ops': {'provider': None, 'cuda': '13.0'}}
BY_BOTH = {'provider': 'mmrest+compiled', 'cuda': None}
OTHER_TORCH = {'error': 'ImportError: mmcv/_ext.so: undefined symbol: _ZN3c105ErrorC2E', 'provider': None}
NO_LIBRARY = {'error': 'ImportError: libc10.so: cannot open shared object file', 'provider': None}
NO_MMREST = {'error': "ModuleNotFoundError: No module named 'mmrest'", 'provider': None}
RENEWED = (
    'python -m pip uninstall -y mmcv && python -m pip install mmcv-lite==2.1.0 torchvision==0.29.1 && '
    'python -m mmrest.mmcv_ops --install'
)


@pytest.mark.parametrize(
    'changes, status, detail, fix',
    [
        ({}, 'ok', 'by mmrest and torchvision', ''),
        ({'torch': GPU}, 'ok', 'by mmrest and torchvision', ''),
        (CPU_BUILD, 'ok', 'compiled for the CPU', ''),
        ({**CPU_BUILD, 'mmrest': ABSENT}, 'ok', 'compiled for the CPU', ''),
        ({**CPU_BUILD, 'torchvision': ABSENT}, 'ok', 'compiled for the CPU', ''),
        ({**CUDA_BUILD, 'torch': GPU}, 'ok', 'compiled with CUDA 13.0', ''),
        (
            {**CPU_BUILD, 'torch': GPU, 'mmrest': {'ops': BY_BOTH}},
            'note',
            'torchvision is used for CUDA tensors if mmrest',
            'python -m mmrest.mmcv_ops --install',
        ),
        ({'mmcv': COMPILED, 'mmcv_ops': BY_BOTH, 'torch': GPU}, 'ok', 'in addition to those of mmcv', ''),
        ({**CPU_BUILD, 'torch': GPU, 'mmrest': ABSENT}, 'FAIL', 'without support for CUDA tensors', RENEWED),
        ({'mmcv_ops': NO_EXT}, 'note', 'if mmrest is imported first', 'python -m mmrest.mmcv_ops --install'),
        (
            {'mmcv_ops': NO_EXT, 'mmrest': ABSENT},
            'FAIL',
            'no compiled operators',
            'python -m mmrest.mmcv_ops --install',
        ),
        ({'mmcv': COMPILED, 'mmcv_ops': OTHER_TORCH}, 'FAIL', 'another version of torch', RENEWED),
        ({'mmcv': COMPILED, 'mmcv_ops': NO_LIBRARY}, 'FAIL', 'another version of torch', RENEWED),
        ({'mmcv_ops': NO_MMREST, 'mmrest': ABSENT}, 'FAIL', 'mmcv takes its operators from mmrest', 'pip install -e .'),
        (
            {'mmcv_ops': NO_EXT, 'mmrest': {'ops': {'error': 'RuntimeError: something else'}}},
            'FAIL',
            'something else',
            'mmcv-lite==2.1.0',
        ),
    ],
)
def test_operators(changes, status, detail, fix):
    finding = diagnose(**changes)['operators']
    assert finding.status == status and detail in finding.detail
    assert fix in finding.fix and bool(fix) == bool(finding.fix)


@pytest.mark.parametrize('torchvision', [ABSENT, {'error': 'RuntimeError: operator torchvision::nms does not exist'}])
@pytest.mark.parametrize('ops', [{}, NO_EXT, {**NO_EXT, 'error': "ModuleNotFoundError: No module named 'torchvision'"}])
def test_operators_need_a_torchvision(torchvision, ops):
    """Alone to blame: what does not work without it is not named a second time."""
    later = {'ops': {'error': "ModuleNotFoundError: No module named 'torchvision'"}}
    findings = diagnose(torchvision=torchvision, mmcv_ops=ops, mmrest=later)
    assert failed(findings) == {'torchvision'} and 'torchvision==0.29.1' in findings['torchvision'].fix
    assert 'operators' not in findings


@pytest.mark.parametrize('torch, torchvision', [('2.14.1', '0.29.1'), ('2.13.0+cpu', '0.28.0'), ('2.4.1', '0.19.1')])
def test_torchvision_goes_with_torch(torch, torchvision):
    findings = diagnose(torch={'version': torch}, torchvision=ABSENT)
    assert findings['torchvision'].fix.endswith(f'torchvision=={torchvision}')


def test_compiled_operators_need_torchvision_for_gpus_and_classification_alone():
    findings = diagnose(**{**CPU_BUILD, 'mmrest': {'ops': BY_BOTH}}, torchvision=ABSENT, torch=GPU)
    assert failed(findings) == {'torchvision'}
    findings = diagnose(**CPU_BUILD, torchvision=ABSENT, mmpretrain=ABSENT)
    assert not failed(findings) and 'torchvision' not in findings
    findings = diagnose(**CPU_BUILD, torchvision=ABSENT)
    assert not failed(findings) and findings['mmpretrain'].status == 'note'


@pytest.mark.parametrize('ops, status', [({}, 'note'), (OTHER_TORCH, 'FAIL')])
def test_two_distributions_of_mmcv(ops, status):
    finding = diagnose(mmcv={'distributions': ['mmcv-lite', 'mmcv']}, mmcv_ops=ops)['mmcv-lite + mmcv']
    assert finding.status == status and 'have the same files' in finding.detail
    assert finding.fix.startswith('python -m pip uninstall -y mmcv-lite mmcv')


# --- the maintained fork ---


def test_fork_is_healthy_with_newer_python_and_setuptools():
    gone = {'version': '82.0.0', 'error': "ModuleNotFoundError: No module named 'pkg_resources'"}
    findings = diagnose(**FORK, python={'version': '3.14.0'}, setuptools=gone)
    assert not failed(findings)
    assert findings['mmdet'].detail == '3.5.1 (onedl-mmdetection)'


@pytest.mark.parametrize(
    'change, fix',
    [
        ({'mmcv': ABSENT}, 'pip install onedl-mmcv torchvision'),
        ({'mmcv': {**FORK['mmcv'], 'version': '2.4.0'}}, 'uninstall -y onedl-mmcv && python -m pip install onedl-mmcv'),
    ],
)
def test_mmcv_beside_the_fork_is_the_forks(change, fix):
    """mmcv-lite would bring OpenMMLab's mmengine over the fork's."""
    findings = diagnose(**{**FORK, **change})
    assert failed(findings) == {'mmcv'} and fix in findings['mmcv'].fix


def test_both_mmengines_share_files():
    both = {'distributions': ['mmengine', 'onedl-mmengine']}
    finding = diagnose(mmengine=both)['mmengine + onedl-mmengine']
    assert finding.status == 'note' and 'uninstall -y mmengine onedl-mmengine' in finding.fix


# --- GPUs ---


@pytest.mark.parametrize(
    'torch, status, detail, fix',
    [
        (GPU, 'ok', 'NVIDIA H200; torch is built for CUDA 13.0', ''),
        ({}, 'note', 'none found', ''),
        ({'nvidia': True, 'hidden': True}, 'note', 'none found', ''),
        (
            {'nvidia': True, 'reason': 'RuntimeError: The NVIDIA driver on your system is too old'},
            'note',
            'torch cannot use it; torch is built for CUDA 13.0; the CPU is used [RuntimeError: The NVIDIA driver',
            'update the driver',
        ),
        ({'nvidia': True, 'cuda': None}, 'note', 'torch is a CPU-only build; the CPU is used', ''),
        (
            {'devices': [['Tesla P100', 'sm_60', False]], 'nvidia': True},
            'note',
            'no kernels for the architecture sm_60',
            'export CUDA_VISIBLE_DEVICES=',
        ),
    ],
)
def test_gpu(torch, status, detail, fix):
    findings = diagnose(torch=torch)
    assert not failed(findings)  # the CPU works
    finding = findings['GPU']
    assert finding.status == status and detail in finding.detail
    assert fix in finding.fix and bool(fix) == bool(finding.fix)


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
def test_kernels_for_a_gpu(archs, capability, expected):
    assert probe['has_kernels'](archs, *capability) is expected


# --- the file itself ---


@pytest.mark.parametrize(
    'low, high',
    [('2.0.0rc4', '2.0.0'), ('2.0.0rc3', '2.0.0rc4'), ('2.1.0', '2.2.0'), ('2.9.1', '2.14.1+cpu'), ('0.10', '0.10.7')],
)
def test_version_order(low, high):
    assert doctor.version_key(low) < doctor.version_key(high)


def test_pins_in_fixes_are_those_of_the_constraints():
    source = Path(doctor.__file__).read_text(encoding='utf-8')
    constraints = (ROOT / 'constraints.txt').read_text(encoding='utf-8')
    pins = re.findall(r'([a-z-]+==\d[\d.]*\d)', source)
    assert len(pins) > 5
    for pin in pins:
        assert re.search(rf'^{re.escape(pin)}(;|$)', constraints, re.MULTILINE), pin


def test_report_gives_the_status_and_a_repeated_fix_once(capsys):
    broken = doctor.Finding('FAIL', 'mmdet', 'broken', 'mend it')
    assert doctor.report([doctor.Finding('ok', 'torch', '2.14.1')]) == 0
    assert doctor.report([broken, broken._replace(name='mmseg')]) == 1
    assert capsys.readouterr().out.count('mend it') == 1


def test_a_crashing_import_does_not_hide_the_others(tmp_path, monkeypatch):
    """The real probes, on modules of our own: one that ends Python, one that prints and raises, one fine, leftovers."""
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


@pytest.mark.parametrize('written', [False, True])
def test_operators_are_looked_up_with_and_without_mmrest(tmp_path, monkeypatch, written):
    """The real probes in their two processes, on made-up packages that need no torch."""
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


@pytest.mark.parametrize(
    'words, status, message',
    [
        (['--help'], 0, 'Exit status: 0 if there are no problems'),
        (['--nonsense'], 2, 'unrecognized arguments: --nonsense'),
        (['nonsense'], 2, 'unrecognized arguments: nonsense'),
    ],
)
@pytest.mark.parametrize('file', ['tools/doctor.py', 'mmrest/doctor.py'])
def test_other_words_than_none_check_nothing(tmp_path, file, words, status, message):
    result = subprocess.run(
        [sys.executable, str(ROOT / file), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == status and message in result.stdout
    assert 'mmrest doctor:' not in result.stdout


def test_runs_as_a_file_without_torch(tmp_path):
    """What a user without torch sees: here, an environment whose installed packages are hidden."""
    doctor_file = str(ROOT / 'tools' / 'doctor.py')
    (tmp_path / 'sitecustomize.py').write_text(
        'import sys; sys.path[:] = [p for p in sys.path if "-packages" not in p]'
    )
    result = subprocess.run(
        [sys.executable, doctor_file],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(tmp_path)),
    )
    assert result.returncode == 1
    assert re.search(r'FAIL  torch +not installed', result.stdout)
