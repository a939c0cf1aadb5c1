"""Packaging of mmrest. The tested versions of everything are in constraints.txt."""
from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

# mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2.
MMCV = 'mmcv>=2.0.0rc4,<2.2'
# mmseg imports ftfy and regex without declaring them.
DETECTION = ['mmdet>=3.3,<4', MMCV]
SEGMENTATION = ['mmsegmentation>=1.2,<2', MMCV, 'ftfy', 'regex']
# mmpretrain imports torchvision without declaring it.
CLASSIFICATION = ['mmpretrain>=1.2,<2', MMCV, 'torchvision']
# Class-activation maps in tools/analyze.py; grad-cam imports torchvision as it starts.
ANALYSIS = ['grad-cam>=1.5,<2', 'matplotlib', 'torchvision']
DEVELOPMENT = ['pytest', 'ruff']


def read_version() -> str:
    """Read the version as text: importing mmrest here would need torch before it is installed."""
    text = (ROOT / 'mmrest' / 'version.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if match is None:
        raise RuntimeError("mmrest/version.py has no line like __version__ = '0.1.0'.")
    return match.group(1)


def read_long_description() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


setup(
    name='mmrest',
    version=read_version(),
    description='ResT and ResTv2 backbones for OpenMMLab (mmdetection, mmsegmentation)',
    long_description=read_long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmrest', 'mmrest.*']),
    python_requires='>=3.9',
    install_requires=['torch>=2.4', 'mmengine>=0.10,<1'],
    extras_require={
        'det': DETECTION,
        'seg': SEGMENTATION,
        'cls': CLASSIFICATION,
        'analysis': ANALYSIS,
        'dev': DEVELOPMENT,
        'all': sorted({*DETECTION, *SEGMENTATION, *CLASSIFICATION, *DEVELOPMENT}),
    },
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
