"""Packaging of mmrest. The tested versions of everything are in constraints.txt."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Not among the requirements: the maintained fork has the same modules under another name. setuptools 82 removed
# pkg_resources, which mmengine imports for configs that inherit `mmdet::...`.
MMENGINE = ['mmengine>=0.10,<1', 'setuptools<82']
# `mmrest publish` writes a safetensors file unless told otherwise, hence the package is in the extras of the libraries.
SAFETENSORS = ['safetensors>=0.4']
# An mmcv is an extra of its own: mmcv-lite installed over a compiled mmcv would share its files, and removing it
# would break both. mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2.
MMCV_LITE = [*MMENGINE, 'mmcv-lite>=2.1,<2.2', 'torchvision']
DETECTION = [*MMENGINE, *SAFETENSORS, 'mmdet>=3.3,<4']
# mmseg imports ftfy and regex without declaring them.
SEGMENTATION = [*MMENGINE, *SAFETENSORS, 'mmsegmentation>=1.2,<2', 'ftfy', 'regex']
# mmpretrain imports torchvision without declaring it.
CLASSIFICATION = [*MMENGINE, *SAFETENSORS, 'mmpretrain>=1.2,<2', 'torchvision']
# The maintained fork: the same modules under other names, in an environment without those of OpenMMLab. onedl-mmcv has
# no wheel; nothing is compiled where pip builds it apart from torch, as it does by default.
ONEDL = [
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmdetection>=3.5.1',
    'onedl-mmsegmentation>=1.4.2',
    'onedl-mmpretrain>=1.3.6',
    'torchvision',
    *SAFETENSORS,
]
# Class-activation maps in tools/analyze.py; grad-cam imports torchvision as it starts.
ANALYSIS = ['grad-cam>=1.5,<2', 'matplotlib', 'torchvision']
EXPORT = ['onnx', 'onnxscript', 'onnxruntime']
TENSORBOARD = ['tensorboard']
# Weights in .safetensors files, and of the Hugging Face Hub.
HUB = [*SAFETENSORS, 'huggingface-hub>=0.26']
# What `make docs` builds the site with; ruff lays out signatures.
DOCS = ['mkdocs-material>=9.7,<10', 'mkdocstrings>=1,<2', 'mkdocstrings-python>=2,<3', 'ruff']
# The tests build the package, too.
DEVELOPMENT = [
    'codespell',
    'hypothesis',
    'import-linter',
    'modelindex',
    'mypy',
    'pytest',
    'pytest-cov>=7',
    'pytest-xdist',
    'ruff',
    'setuptools>=64',
    'timm>=1,<2',
    'wheel',
]

# The project itself has no public address yet.
PROJECT_URLS = {
    'Paper of ResT': 'https://arxiv.org/abs/2105.13677',
    'Paper of ResT V2': 'https://arxiv.org/abs/2204.07366',
}

# What an installed package carries in mmrest/.mim, where the tools of OpenMMLab look for it.
CARRIED = ('configs', 'tools', 'model-index.yml')
# Tools that work on the repository itself.
OF_THE_REPOSITORY = ('setup_env.py', 'setup_progress.py')


class BuildWithConfigs(build_py):
    """Copies configs and tools into what is built. An editable installation finds them in the repository."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'mmrest' / '.mim'
        # What an earlier build left would go on being installed.
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in CARRIED:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns('__pycache__', *OF_THE_REPOSITORY)
                shutil.copytree(source, target / name, ignore=ignore)
            else:
                shutil.copy2(source, target / name)


def read_version() -> str:
    """Read the version as text: importing mmrest here would need torch before it is installed."""
    text = (ROOT / 'mmrest' / 'version.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if match is None:
        raise RuntimeError("mmrest/version.py has no line like __version__ = '0.1.0'.")
    return match.group(1)


setup(
    name='mmrest',
    version=read_version(),
    description='ResT and ResTv2 backbones for OpenMMLab (mmdetection, mmsegmentation, mmpretrain)',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords='computer vision, object detection, semantic segmentation, transformer, OpenMMLab, ResT',
    license='Apache-2.0',
    license_files=['LICENSE'],
    project_urls=PROJECT_URLS,
    packages=find_packages(include=['mmrest', 'mmrest.*']),
    # Type checkers read the annotations of packages with this file.
    package_data={'mmrest': ['py.typed'], 'mmrest.visualization.report': ['page.html']},
    # Beside the package, because importing it needs torch, and `mmrest doctor` does not.
    py_modules=['mmrest_cli'],
    entry_points={'console_scripts': ['mmrest = mmrest_cli:main']},
    cmdclass=dict(build_py=BuildWithConfigs),
    python_requires='>=3.10',
    install_requires=['torch>=2.4'],
    extras_require={
        'det': DETECTION,
        'seg': SEGMENTATION,
        'cls': CLASSIFICATION,
        'mmcv-lite': MMCV_LITE,
        'onedl': ONEDL,
        'analysis': ANALYSIS,
        'export': EXPORT,
        'tensorboard': TENSORBOARD,
        'safetensors': SAFETENSORS,
        'hub': HUB,
        'docs': DOCS,
        'dev': DEVELOPMENT,
        'all': sorted(
            {
                *DETECTION,
                *SEGMENTATION,
                *CLASSIFICATION,
                *MMCV_LITE,
                *ANALYSIS,
                *EXPORT,
                *TENSORBOARD,
                *HUB,
                *DOCS,
                *DEVELOPMENT,
            }
        ),
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
)
