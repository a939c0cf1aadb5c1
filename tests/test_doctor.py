"""The doctor on made-up facts: each problem users meet gets its cause and the right command."""
from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmrest import doctor

ROOT = Path(__file__).resolve().parent.parent

ABSENT = {'installed': False}
HEALTHY = {
    'python': {'installed': True, 'version': '3.11.7'},
    'torch': {'installed': True, 'version': '2.14.1+cu130', 'cuda': '13.0', 'devices': [], 'archs': [], 'reason': '',
              'nvidia': False, 'hidden': False},
    'mmengine': {'installed': True, 'version': '0.10.7', 'distributions': ['mmengine']},
    'setuptools': {'installed': True, 'version': '81.0.0'},
    'numpy': {'installed': True, 'version': '2.4.6'},
    'cv2': {'installed': True, 'version': '5.0.0.93'},
    'matplotlib': {'installed': True, 'version': '3.11.2'},
    'mmcv': {'installed': True, 'version': '2.1.0', 'distributions': ['mmcv-lite']},
    'mmcv_ops': {'installed': True, 'version': '2.1.0', 'provider': 'mmrest', 'cuda': None},
    'pycocotools': {'installed': True, 'version': '2.0.11'},
    'ftfy': {'installed': True, 'version': '6.3.1'},
    'regex': {'installed': True, 'version': '2026.11.19'},
    'mmdet': {'installed': True, 'version': '3.3.0', 'distributions': ['mmdet']},
    'mmseg': {'installed': True, 'version': '1.2.2', 'distributions': ['mmsegmentation']},
    'torchvision': {'installed': True, 'version': '0.29.1+cu130'},
    'mmpretrain': {'installed': True, 'version': '1.2.0', 'distributions': ['mmpretrain']},
    'mmrest': {'installed': True, 'version': '0.1.0', 'registered': True, 'path': 'mmrest/__init__.py',
               'ops': {'provider': 'mmrest', 'cuda': None}},
}
COMPILED = {'mmcv': {'distributions': ['mmcv']}, 'mmcv_ops': {'provider': None}}
NO_OPS = {'mmcv_ops': {'provider': None, 'error': "ModuleNotFoundError: No module named 'mmcv._ext'"}}
GPU = {'devices': [['NVIDIA A100', 8, 0]], 'archs': ['sm_80', 'sm_90', 'compute_90'], 'nvidia': True}
FORK = {'mmengine': {'version': '0.10.12', 'distributions': ['onedl-mmengine']},
        'mmcv': {'version': '2.3.6', 'distributions': ['onedl-mmcv']},
        'mmdet': {'version': '3.5.1', 'distributions': ['onedl-mmdetection']},
        'mmseg': {'version': '1.4.2', 'distributions': ['onedl-mmsegmentation']},
        'mmpretrain': {'version': '1.3.6', 'distributions': ['onedl-mmpretrain']}}


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


@pytest.mark.parametrize('name, change, failing, cause, fix', [
    ('python', {'version': '3.14.0'}, 'python', 'find_loader', 'PYTHON=python3.11'),
    ('python', {'version': '3.9.18'}, 'python', '>= 3.10', 'PYTHON=python3.11'),
    ('torch', {'installed': False}, 'torch', 'not installed', 'torch==2.14.1'),
    ('torch', {'error': 'ImportError: libtorch_cuda.so: cannot open shared object file'}, 'torch', 'broken',
     '--force-reinstall --no-deps torch==2.14.1'),
    ('torch', {'version': '2.3.1'}, 'torch', 'torch >= 2.4', 'torch==2.14.1'),
    ('mmengine', {'installed': False}, 'mmengine', 'not installed', 'mmengine==0.10.7'),
    ('mmengine', {'version': '1.0.0'}, 'mmengine', '< 1', 'mmengine==0.10.7'),
    ('mmcv', {'version': '2.2.0'}, 'mmcv', 'refused by mmdet 3.3', 'mmcv-lite==2.1.0'),
    ('mmcv', {'version': '1.7.2'}, 'mmcv', 'before mmengine', 'mmcv-lite==2.1.0'),
    ('mmcv', {'installed': False}, 'mmcv', 'not installed', 'mmcv-lite==2.1.0 torchvision==0.29.1'),
    ('mmcv_ops', {'error': 'ImportError: mmcv/_ext.so: undefined symbol: _ZN3c105ErrorC2E', 'provider': None},
     'operators', 'another torch', 'mmcv-lite==2.1.0'),
    ('setuptools', {'version': '82.0.0', 'error': "ModuleNotFoundError: No module named 'pkg_resources'"},
     'setuptools', '82 removed pkg_resources', '"setuptools<82"'),
    ('cv2', {'error': 'ImportError: libGL.so.1: cannot open shared object file'}, 'cv2', 'libGL',
     'opencv-python-headless==5.0.0.93'),
    ('numpy', {'installed': False}, 'numpy', 'not installed', 'pip install numpy'),
    ('pycocotools', {'error': 'ValueError: numpy.dtype size changed'}, 'pycocotools', 'NumPy', '--force-reinstall'),
    ('ftfy', {'installed': False}, 'ftfy', 'does not declare', 'pip install ftfy'),
    ('mmseg', {'error': "ModuleNotFoundError: No module named 'ftfy'"}, 'mmseg', 'does not declare',
     'pip install ftfy regex'),
    ('mmdet', {'error': 'AssertionError: MMCV==2.2.0 is used but incompatible.'}, 'mmdet', '< 2.2.0',
     'mmcv-lite==2.1.0'),
    ('mmdet', {'error': "ModuleNotFoundError: No module named 'terminaltables'"}, 'mmdet',
     'terminaltables is missing', 'pip install terminaltables'),
    ('mmdet', {'error': "ModuleNotFoundError: No module named 'yaml'"}, 'mmdet', 'yaml is missing',
     'pip install pyyaml'),
    ('mmdet', {'error': 'the import ended Python with status -11'}, 'mmdet', 'broken', '--force-reinstall'),
    ('torchvision', {'installed': False}, 'torchvision', 'in the place of mmcv', 'torchvision==0.29.1'),
    ('torchvision', {'error': 'RuntimeError: operator torchvision::nms does not exist'}, 'torchvision',
     'another torch', 'torchvision==0.29.1'),
    ('mmrest', {'installed': False}, 'mmrest', 'not installed', 'pip install -e .'),
    ('mmrest', {'registered': False}, 'mmrest', 'not in mmengine', 'pip install -e .'),
])
def test_each_problem_is_named_with_its_fix(name, change, failing, cause, fix):
    findings = diagnose(**{name: change})
    assert failed(findings) == {failing}
    assert cause in findings[failing].detail
    assert fix in findings[failing].fix


@pytest.mark.parametrize('changes, status, text, fix', [
    ({}, 'ok', 'by mmrest and torchvision', ''),
    (dict(torch=GPU), 'ok', 'by mmrest and torchvision', ''),
    (COMPILED, 'ok', 'compiled for the CPU', ''),
    (dict(COMPILED, mmcv_ops=dict(provider=None, cuda='13.0'), torch=GPU), 'ok', 'compiled with CUDA 13.0', ''),
    # Compiled for the CPU on a machine with a GPU: mmrest serves the CUDA tensors, if it is imported in time.
    (dict(COMPILED, torch=GPU, mmrest=dict(ops=dict(provider='mmrest+compiled'))), 'note', 'go to torchvision',
     'mmcv_ops --install'),
    (dict(COMPILED, mmcv_ops=dict(provider='mmrest+compiled'), torch=GPU), 'ok', 'beside those of mmcv', ''),
    (dict(COMPILED, torch=GPU, mmrest=dict(ops=dict(provider=None))), 'FAIL', 'nothing serves CUDA', 'mmcv-lite'),
    (NO_OPS, 'note', 'where mmrest is imported first', 'mmcv_ops --install'),
    (dict(NO_OPS, mmrest=dict(ops=dict(error="ModuleNotFoundError: No module named 'mmcv._ext'"))), 'FAIL',
     'did not stand in', 'mmcv_ops --install'),
])
def test_where_operators_come_from(changes, status, text, fix):
    finding = diagnose(**changes)['operators']
    assert finding.status == status and text in finding.detail and fix in finding.fix
    assert bool(finding.fix) == bool(fix)
    assert failed(diagnose(**changes)) == ({'operators'} if status == 'FAIL' else set())


@pytest.mark.parametrize('torch, status, text', [
    ({}, 'note', 'none seen'),
    (GPU, 'ok', 'NVIDIA A100'),
    (dict(GPU, devices=[['Tesla K80', 3, 7]]), 'note', 'no kernels for its architecture sm_37'),
    (dict(GPU, devices=[['Newer', 12, 0]]), 'ok', 'Newer'),  # by the code that is compiled for it when it starts
    (dict(nvidia=True, reason='RuntimeError: The NVIDIA driver on your system is too old'), 'note',
     'too old'),
    (dict(nvidia=True, cuda=None), 'note', 'the CPU is used'),
    (dict(nvidia=True, hidden=True), 'note', 'none seen'),
])
def test_gpus(torch, status, text):
    findings = diagnose(torch=torch)
    assert findings['GPU'].status == status and text in findings['GPU'].detail and not failed(findings)


def test_the_maintained_fork_is_known():
    findings = diagnose(**FORK)
    assert not failed(findings) and 'onedl-mmengine' in findings['mmengine'].detail
    lacking = {'version': '82.0.0', 'error': "ModuleNotFoundError: No module named 'pkg_resources'"}
    assert not failed(diagnose(**FORK, setuptools=lacking))
    assert not failed(diagnose(**FORK, python={'version': '3.14.0'}))


@pytest.mark.parametrize('broken', [False, True])
def test_two_distributions_of_one_package(broken):
    changes = dict(mmcv=dict(distributions=['mmcv-lite', 'mmcv']))
    if broken:
        changes['mmcv']['error'] = "ModuleNotFoundError: No module named 'mmcv.ops'"
    finding = diagnose(**changes)['mmcv-lite + mmcv']
    assert finding.status == ('FAIL' if broken else 'note') and 'uninstall -y mmcv-lite mmcv' in finding.fix


def test_frameworks_are_optional_and_so_is_mmcv_without_them():
    findings = diagnose(mmdet=ABSENT, mmseg=ABSENT, mmcv=ABSENT, mmcv_ops=ABSENT, pycocotools=ABSENT,
                        ftfy=ABSENT, regex=ABSENT)
    assert not failed(findings)
    assert findings['mmcv'].status == findings['mmdet'].status == findings['mmseg'].status == 'note'


def test_torchvision_goes_with_torch():
    for version, expected in (('2.14.1', '0.29.1'), ('2.13.0+cpu', '0.28.0'), ('2.4.1', '0.19.1')):
        findings = diagnose(torch={'version': version}, torchvision=ABSENT)
        assert findings['torchvision'].fix.endswith(f'torchvision=={expected}')
    # Compiled operators do without it; classification does not.
    findings = diagnose(**COMPILED, torchvision=ABSENT)
    assert not failed(findings) and findings['mmpretrain'].status == 'note'


@pytest.mark.parametrize('low, high', [('2.0.0rc4', '2.0.0'), ('2.0.0rc3', '2.0.0rc4'), ('2.1.0', '2.2.0'),
                                       ('2.9.1', '2.13.0+cpu'), ('0.10', '0.10.7')])
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
    """The real probes, on modules of our own: one that ends Python, one that prints and raises, one fine."""
    (tmp_path / 'cv2.py').write_text('import os; os._exit(3)')
    (tmp_path / 'ftfy.py').write_text('print("noise"); raise RuntimeError("broken on purpose")')
    (tmp_path / 'regex.py').write_text('__version__ = "1.0"')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(doctor, 'IMPORTS', ({name: name for name in ('cv2', 'ftfy', 'regex')}, ))
    facts = doctor.collect()
    assert facts['cv2']['error'] == 'the import ended Python with status 3'
    assert facts['ftfy']['error'] == 'RuntimeError: broken on purpose'
    assert facts['regex']['installed'] and 'error' not in facts['regex']


@pytest.mark.parametrize('words, status, message', [
    (['--help'], 0, 'Exit status: 0 where all is fine'), (['--nonsense'], 2, 'unrecognized arguments: --nonsense'),
    (['nonsense'], 2, 'unrecognized arguments: nonsense')])
@pytest.mark.parametrize('file', ['tools/doctor.py', 'mmrest/doctor.py'])
def test_other_words_than_none_check_nothing(tmp_path, file, words, status, message):
    result = subprocess.run([sys.executable, str(ROOT / file), *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.STDOUT)
    assert result.returncode == status and message in result.stdout
    assert 'mmrest doctor:' not in result.stdout


def test_runs_as_a_file_without_torch(tmp_path):
    """What a user without torch sees: here, an environment whose installed packages are hidden."""
    doctor_file = str(ROOT / 'tools' / 'doctor.py')
    (tmp_path / 'sitecustomize.py').write_text(
        'import sys; sys.path[:] = [p for p in sys.path if "-packages" not in p]')
    result = subprocess.run([sys.executable, doctor_file], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                            env=dict(os.environ, PYTHONPATH=str(tmp_path)))
    assert result.returncode == 1
    assert re.search(r'FAIL  torch +not installed', result.stdout)
