"""The doctor on mmcv's operators and on GPUs."""

import pytest
from helpers.doctor_facts import ABSENT, COMPILED, GPU, NO_EXT, diagnose, failed

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
def test_diagnosis_of_operators_names_their_source(changes, status, detail, fix):
    finding = diagnose(**changes)['operators']
    assert finding.status == status and detail in finding.detail
    assert fix in finding.fix and bool(fix) == bool(finding.fix)


@pytest.mark.parametrize('torchvision', [ABSENT, {'error': 'RuntimeError: operator torchvision::nms does not exist'}])
@pytest.mark.parametrize('ops', [{}, NO_EXT, {**NO_EXT, 'error': "ModuleNotFoundError: No module named 'torchvision'"}])
def test_diagnosis_without_torchvision_blames_it_alone(torchvision, ops):
    """Packages that fail for lack of torchvision are not named beside it."""
    later = {'ops': {'error': "ModuleNotFoundError: No module named 'torchvision'"}}
    findings = diagnose(torchvision=torchvision, mmcv_ops=ops, mmrest=later)
    assert failed(findings) == {'torchvision'} and 'torchvision==0.29.1' in findings['torchvision'].fix
    assert 'operators' not in findings


@pytest.mark.parametrize('torch, torchvision', [('2.14.1', '0.29.1'), ('2.13.0+cpu', '0.28.0'), ('2.4.1', '0.19.1')])
def test_diagnosis_without_torchvision_names_the_version_for_torch(torch, torchvision):
    findings = diagnose(torch={'version': torch}, torchvision=ABSENT)
    assert findings['torchvision'].fix.endswith(f'torchvision=={torchvision}')


def test_diagnosis_of_compiled_operators_needs_torchvision_only_on_gpus():
    findings = diagnose(**{**CPU_BUILD, 'mmrest': {'ops': BY_BOTH}}, torchvision=ABSENT, torch=GPU)
    assert failed(findings) == {'torchvision'}
    findings = diagnose(**CPU_BUILD, torchvision=ABSENT, mmpretrain=ABSENT)
    assert not failed(findings) and 'torchvision' not in findings
    findings = diagnose(**CPU_BUILD, torchvision=ABSENT)
    assert not failed(findings) and findings['mmpretrain'].status == 'note'


@pytest.mark.parametrize('ops, status', [({}, 'note'), (OTHER_TORCH, 'FAIL')])
def test_diagnosis_of_two_mmcv_distributions_says_they_share_files(ops, status):
    finding = diagnose(mmcv={'distributions': ['mmcv-lite', 'mmcv']}, mmcv_ops=ops)['mmcv-lite + mmcv']
    assert finding.status == status and 'have the same files' in finding.detail
    assert finding.fix.startswith('python -m pip uninstall -y mmcv-lite mmcv')


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
def test_diagnosis_of_gpu_names_cause_and_fix(torch, status, detail, fix):
    findings = diagnose(torch=torch)
    assert not failed(findings)  # the CPU works
    finding = findings['GPU']
    assert finding.status == status and detail in finding.detail
    assert fix in finding.fix and bool(fix) == bool(finding.fix)
