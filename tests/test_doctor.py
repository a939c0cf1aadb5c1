"""The doctor on made-up facts about packages, and as a file without torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_process
from helpers.doctor_facts import ABSENT, FORK, diagnose, failed
from helpers.wheels import hide_packages

from mmrest import doctor

ROOT = Path(__file__).resolve().parent.parent


def test_diagnosis_of_healthy_environment_has_no_failure():
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
def test_diagnosis_of_a_problem_names_cause_and_fix(name, change, failing, cause, fix):
    findings = diagnose(**{name: change})
    assert failed(findings) == {failing}
    assert cause in findings[failing].detail
    assert fix in findings[failing].fix


def test_diagnosis_without_frameworks_has_no_failure():
    absent = dict.fromkeys(
        ['mmdet', 'mmseg', 'mmpretrain', 'mmcv', 'mmcv_ops', 'torchvision', 'pycocotools', 'ftfy', 'regex'], ABSENT
    )
    findings = diagnose(**absent, mmrest={'ops': {}})
    assert not failed(findings)
    assert findings['mmcv'].status == findings['mmdet'].status == findings['mmseg'].status == 'note'


@pytest.mark.parametrize('version', ['1.26.4', '2.2.6', '2.5.5'])
def test_diagnosis_of_any_numpy_is_ok(version):
    assert diagnose(numpy={'version': version})['numpy'] == doctor.Finding('ok', 'numpy', version)


def test_diagnosis_of_the_fork_with_newer_python_has_no_failure():
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
def test_diagnosis_of_missing_mmcv_beside_the_fork_names_the_forks(change, fix):
    """mmcv-lite would overwrite the fork's mmengine with OpenMMLab's."""
    findings = diagnose(**{**FORK, **change})
    assert failed(findings) == {'mmcv'} and fix in findings['mmcv'].fix


def test_diagnosis_of_both_mmengines_says_they_share_files():
    both = {'distributions': ['mmengine', 'onedl-mmengine']}
    finding = diagnose(mmengine=both)['mmengine + onedl-mmengine']
    assert finding.status == 'note' and 'uninstall -y mmengine onedl-mmengine' in finding.fix


@pytest.mark.parametrize(
    'low, high',
    [('2.0.0rc4', '2.0.0'), ('2.0.0rc3', '2.0.0rc4'), ('2.1.0', '2.2.0'), ('2.9.1', '2.14.1+cpu'), ('0.10', '0.10.7')],
)
def test_version_key_orders_versions(low, high):
    assert doctor.version_key(low) < doctor.version_key(high)


def test_pins_in_fixes_equal_the_constraints():
    source = Path(doctor.__file__).read_text(encoding='utf-8')
    constraints = (ROOT / 'constraints.txt').read_text(encoding='utf-8')
    pins = re.findall(r'([a-z-]+==\d[\d.]*\d)', source)
    assert len(pins) > 5
    for pin in pins:
        assert re.search(rf'^{re.escape(pin)}(;|$)', constraints, re.MULTILINE), pin


def test_report_returns_the_status_and_prints_a_repeated_fix_once(capsys):
    broken = doctor.Finding('FAIL', 'mmdet', 'broken', 'mend it')
    assert doctor.report([doctor.Finding('ok', 'torch', '2.14.1')]) == 0
    assert doctor.report([broken, broken._replace(name='mmseg')]) == 1
    assert capsys.readouterr().out.count('mend it') == 1


@pytest.mark.parametrize(
    'words, status, message',
    [
        (['--help'], 0, 'Exit status: 0 if there are no problems'),
        (['--nonsense'], 2, 'unrecognized arguments: --nonsense'),
        (['nonsense'], 2, 'unrecognized arguments: nonsense'),
    ],
)
@pytest.mark.parametrize('file', ['tools/doctor.py', 'mmrest/doctor.py'])
def test_doctor_with_arguments_checks_nothing(tmp_path, file, words, status, message):
    result = subprocess.run(
        [sys.executable, str(ROOT / file), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == status and message in result.stdout
    assert 'mmrest doctor:' not in result.stdout


def test_doctor_file_without_torch_says_so(tmp_path):
    """The installed packages are hidden."""
    printed = run_process([sys.executable, ROOT / 'tools/doctor.py'], tmp_path, hide_packages(tmp_path), status=1)
    assert re.search(r'FAIL  torch +not installed', printed)
