"""Made-up facts about an environment, and what the doctor finds in them."""

import copy

from mmrest import doctor

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
