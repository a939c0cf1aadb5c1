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
    'torch': {'installed': True, 'version': '2.13.0+cpu', 'cuda': None, 'devices': []},
    'mmengine': {'installed': True, 'version': '0.10.7'},
    'setuptools': {'installed': True, 'version': '80.8.0'},
    'numpy': {'installed': True, 'version': '1.26.4'},
    'cv2': {'installed': True, 'version': '4.11.0.86'},
    'matplotlib': {'installed': True, 'version': '3.9.4'},
    'mmcv': {'installed': True, 'version': '2.1.0', 'lite': False},
    'mmcv_ops': {'installed': True, 'version': '2.1.0', 'cuda': None},
    'pycocotools': {'installed': True, 'version': '2.0.11'},
    'ftfy': {'installed': True, 'version': '6.3.1'},
    'regex': {'installed': True, 'version': '2025.11.3'},
    'mmdet': {'installed': True, 'version': '3.3.0'},
    'mmseg': {'installed': True, 'version': '1.2.2'},
    'torchvision': {'installed': True, 'version': '0.28.0+cpu'},
    'mmpretrain': {'installed': True, 'version': '1.2.0'},
    'mmrest': {'installed': True, 'version': '0.1.0', 'registered': True, 'path': 'mmrest/__init__.py'},
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


@pytest.mark.parametrize('name, change, failing, cause, fix', [
    ('python', {'version': '3.13.0'}, 'python', '3.9 to 3.12', 'PYTHON=python3.11'),
    ('python', {'version': '3.8.18'}, 'python', '3.9 to 3.12', 'PYTHON=python3.11'),
    ('torch', {'installed': False}, 'torch', 'not installed', 'torch==2.13.0'),
    ('torch', {'error': 'ImportError: libtorch_cuda.so: cannot open shared object file'}, 'torch', 'broken',
     '--force-reinstall --no-deps torch==2.13.0'),
    ('torch', {'version': '2.3.1'}, 'torch', 'torch >= 2.4', 'torch==2.13.0'),
    ('mmengine', {'installed': False}, 'mmengine', 'not installed', 'mmengine==0.10.7'),
    ('mmengine', {'version': '1.0.0'}, 'mmengine', '< 1', 'mmengine==0.10.7'),
    ('mmcv', {'version': '2.2.0'}, 'mmcv', 'refused by mmdet 3.3', 'mmcv==2.1.0'),
    ('mmcv', {'version': '1.7.2'}, 'mmcv', 'before mmengine', 'mmcv==2.1.0'),
    ('mmcv', {'installed': False}, 'mmcv', 'not installed', 'MMCV_WITH_OPS=1'),
    ('mmcv', {'lite': True}, 'mmcv-lite', 'no ops', 'uninstall -y mmcv-lite'),
    ('mmcv_ops', {'error': "ModuleNotFoundError: No module named 'mmcv._ext'"}, 'mmcv ops',
     'without its compiled ops', 'MMCV_WITH_OPS=1'),
    ('mmcv_ops', {'error': 'ImportError: mmcv/_ext.so: undefined symbol: _ZN3c105ErrorC2E'}, 'mmcv ops',
     'another torch', '--no-cache-dir'),
    ('mmcv_ops', {'error': 'ImportError: libtorch_cuda.so: cannot open shared object file'}, 'mmcv ops',
     'another torch', '--no-cache-dir'),
    ('setuptools', {'version': '82.0.0', 'error': "ModuleNotFoundError: No module named 'pkg_resources'"},
     'setuptools', '82 removed pkg_resources', '"setuptools<82"'),
    ('cv2', {'error': 'ImportError: libGL.so.1: cannot open shared object file'}, 'cv2', 'libGL',
     'opencv-python-headless'),
    ('numpy', {'installed': False}, 'numpy', 'not installed', 'numpy==1.26.4'),
    ('pycocotools', {'error': 'ValueError: numpy.dtype size changed'}, 'pycocotools', 'NumPy',
     'numpy==1.26.4'),
    ('ftfy', {'installed': False}, 'ftfy', 'does not declare', 'pip install ftfy'),
    ('mmseg', {'error': "ModuleNotFoundError: No module named 'ftfy'"}, 'mmseg', 'does not declare',
     'pip install ftfy regex'),
    ('mmdet', {'error': 'AssertionError: MMCV==2.2.0 is used but incompatible.'}, 'mmdet', '< 2.2.0',
     'mmcv==2.1.0'),
    ('mmdet', {'error': "ModuleNotFoundError: No module named 'terminaltables'"}, 'mmdet',
     'terminaltables is missing', 'pip install terminaltables'),
    ('mmdet', {'error': "ModuleNotFoundError: No module named 'yaml'"}, 'mmdet', 'yaml is missing',
     'pip install pyyaml'),
    ('mmdet', {'error': 'the import ended Python with status -11'}, 'mmdet', 'broken', '--force-reinstall'),
    ('mmrest', {'installed': False}, 'mmrest', 'not installed', 'pip install -e .'),
    ('mmrest', {'registered': False}, 'mmrest', 'not in mmengine', 'pip install -e .'),
])
def test_each_problem_is_named_with_its_fix(name, change, failing, cause, fix):
    findings = diagnose(**{name: change})
    assert failed(findings) == {failing}
    assert cause in findings[failing].detail
    assert fix in findings[failing].fix


def test_torch_for_python_3_9_is_one_that_exists():
    findings = diagnose(python={'version': '3.9.18'}, torch=ABSENT)
    assert 'torch==2.8.0' in findings['torch'].fix


def test_frameworks_are_optional_and_so_is_mmcv_without_them():
    findings = diagnose(mmdet=ABSENT, mmseg=ABSENT, mmcv=ABSENT, mmcv_ops=ABSENT, pycocotools=ABSENT,
                        ftfy=ABSENT, regex=ABSENT)
    assert not failed(findings)
    assert findings['mmcv'].status == findings['mmdet'].status == findings['mmseg'].status == 'note'


def test_classification_is_optional_but_a_broken_torchvision_is_not():
    """Every runner of mmengine imports torchvision if it is there."""
    for torchvision, status in ((ABSENT, 'note'), ({}, 'ok')):
        findings = diagnose(torchvision=torchvision)
        assert not failed(findings) and findings['mmpretrain'].status == status
    assert diagnose(mmpretrain=ABSENT)['mmpretrain'].status == 'note'
    findings = diagnose(torchvision={'error': 'RuntimeError: operator torchvision::nms does not exist'})
    assert failed(findings) == {'torchvision'} and 'another torch' in findings['torchvision'].detail
    assert '0.28.0 for torch 2.13.0' in findings['torchvision'].fix and findings['mmpretrain'].status == 'note'
    for version, expected in (('3.11.7', '0.28.0'), ('3.9.18', '0.23.0')):
        findings = diagnose(torchvision=ABSENT, python={'version': version})
        assert findings['mmpretrain'].fix.endswith(f'torchvision=={expected}')


def test_gpu_with_cpu_only_ops_fails_but_not_without_a_gpu():
    gpu = {'cuda': '13.0', 'devices': ['NVIDIA A100']}
    findings = diagnose(torch=gpu)
    assert failed(findings) == {'GPU'}
    assert 'FORCE_CUDA=1' in findings['GPU'].fix
    assert not failed(diagnose(torch=gpu, mmcv_ops={'cuda': '13.0'}))
    assert diagnose()['GPU'].status == 'note'


def test_numpy_2_is_a_note():
    assert diagnose(numpy={'version': '2.2.6'})['numpy'].status == 'note'


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
    assert doctor.report([doctor.Finding('ok', 'torch', '2.13.0')]) == 0
    assert doctor.report([broken, broken._replace(name='mmseg')]) == 1
    assert capsys.readouterr().out.count('mend it') == 1


def test_a_crashing_import_does_not_hide_the_others(tmp_path, monkeypatch):
    """The real probes, on modules of our own: one that ends Python, one that prints and raises, one fine."""
    (tmp_path / 'cv2.py').write_text('import os; os._exit(3)')
    (tmp_path / 'ftfy.py').write_text('print("noise"); raise RuntimeError("broken on purpose")')
    (tmp_path / 'regex.py').write_text('__version__ = "1.0"')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(doctor, 'IMPORTS', dict.fromkeys(['cv2', 'ftfy', 'regex'], ''))
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
