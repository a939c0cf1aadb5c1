"""Collect facts about an environment for mmrest/doctor.py by importing modules in other processes.

`collect` runs this file as ``python doctor_probe.py JSON`` with a list of ``[name of the fact, module to import,
distributions that may provide it]``. It prints one line of JSON per fact. Standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from types import ModuleType

# Name of the fact -> module to import, for two processes. Configs need the .models packages of mmdet and mmseg. The
# first process does not import mmrest, to check mmcv's operators without it.
IMPORTS = (
    {
        'setuptools': 'pkg_resources',
        'numpy': 'numpy',
        'cv2': 'cv2',
        'matplotlib': 'matplotlib',
        'torch': 'torch',
        'torchvision': 'torchvision',
        'mmengine': 'mmengine',
        'mmcv': 'mmcv',
        'mmcv_ops': 'mmcv',
        'pycocotools': 'pycocotools.mask',
        'ftfy': 'ftfy',
        'regex': 'regex',
    },
    {'mmrest': 'mmrest', 'mmdet': 'mmdet.models', 'mmseg': 'mmseg.models', 'mmpretrain': 'mmpretrain.models'},
)
MARK = '@fact '
TIMEOUT = 300  # seconds
# Imported after mmrest, as configs do, which may provide mmcv's operators for their models.
AFTER_MMREST = ('mmdet', 'mmseg', 'mmpretrain')


def installed_versions(distributions: list[str]) -> dict[str, str]:
    """Return the versions of the installed distributions."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def has_kernels(archs: list[str], major: int, minor: int) -> bool:
    """Return True if a torch built for some architectures supports a compute capability."""
    built = re.findall(r'(sm|compute)_(\d+)', ' '.join(archs))
    if not built:  # architectures of other vendors
        return True
    # sm_.. runs on later GPUs of the same major version; compute_.. (PTX) is compiled for all later GPUs.
    return any(
        divmod(int(digits), 10) <= (major, minor) and (kind == 'compute' or int(digits) // 10 == major)
        for kind, digits in built
    )


def torch_facts(torch: ModuleType) -> dict:
    """Return the CUDA version of torch and the GPUs with their usability, or the reason for having none."""
    facts = {
        'cuda': torch.version.cuda,
        'devices': [],
        'reason': '',
        'nvidia': bool(glob.glob('/dev/nvidia[0-9]*') or glob.glob('/dev/dxg')),
        'hidden': os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'),
    }
    try:
        if torch.cuda.is_available():
            for i in range(torch.cuda.device_count()):
                major, minor = torch.cuda.get_device_capability(i)
                facts['devices'].append(
                    [
                        torch.cuda.get_device_name(i),
                        f'sm_{major}{minor}',
                        has_kernels(torch.cuda.get_arch_list(), major, minor),
                    ]
                )
        elif facts['nvidia'] and facts['cuda']:
            torch.cuda.init()  # raises with the reason
    except Exception as error:
        facts['reason'] = first_line(error)
    return facts


def operator_facts() -> dict:
    """Return the provider and the CUDA version of mmcv's operators in this process."""
    try:
        module = importlib.import_module('mmcv._ext')
        cuda = module.get_compiling_cuda_version()
    except Exception as error:
        return {'error': first_line(error)}
    return {'provider': getattr(module, 'PROVIDER', None), 'cuda': None if cuda == 'not available' else cuda}


def extra_facts(name: str, module: ModuleType) -> dict:
    """Return additional facts about a module."""
    if name == 'torch':
        return torch_facts(module)
    if name == 'mmcv_ops':
        return operator_facts()
    if name == 'mmrest':
        from mmengine.registry import MODELS

        return {
            'registered': 'ResT' in MODELS.module_dict,
            'path': module.__file__,
            'ops': operator_facts() if find_spec('mmcv') else {},
        }
    return {}


def probe(name: str, module: str, distributions: list[str]) -> dict:
    """Import a module and return the fact about it."""
    spec = find_spec(module.split('.')[0])
    if spec is None or spec.origin is None:  # folder without __init__.py, left by an uninstallation
        return {'installed': False}
    versions = installed_versions(distributions)
    fact = {'installed': True, 'version': next(iter(versions.values()), ''), 'distributions': list(versions)}
    if name in AFTER_MMREST:
        with contextlib.suppress(Exception):
            importlib.import_module('mmrest')
    try:
        imported = importlib.import_module(module)
        fact['version'] = fact['version'] or getattr(imported, '__version__', '')
        fact.update(extra_facts(name, imported))
    except (Exception, SystemExit) as error:
        fact['error'] = first_line(error)
    return fact


def run_probes(modules: dict[str, str], distributions: dict) -> tuple[dict, str]:
    """Probe modules in another process. Return the collected facts and a message about the end of the process."""
    probes = [[name, module, distributions.get(name, (name,))] for name, module in modules.items()]
    try:
        result = subprocess.run(
            [sys.executable, os.path.abspath(__file__), json.dumps(probes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )
        output, ending = result.stdout, f'the import terminated Python with status {result.returncode}'
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b'', f'the import took longer than {TIMEOUT} seconds'
    lines = output.decode(errors='replace').splitlines()
    facts = dict(json.loads(line[len(MARK) :]) for line in lines if line.startswith(MARK))
    return facts, ending


def collect(distributions: dict, imports: tuple[dict, ...] = IMPORTS) -> dict:
    """Return the facts by name. If an import kills the process, another one continues with the next module.

    Args:
        distributions (dict): Distributions of packages with other names.
        imports (tuple): Modules to import by name of the fact, for each process.
    """
    facts = {'python': {'installed': True, 'version': platform.python_version()}}
    for modules in imports:
        left = dict(modules)
        while left:
            found, ending = run_probes(left, distributions)
            facts.update(found)
            left = {name: module for name, module in left.items() if name not in found}
            if left:
                name = next(iter(left))
                del left[name]
                facts[name] = {'installed': True, 'error': ending}
    return facts


if __name__ == '__main__':
    # Remove this folder from the path, since modules of mmrest could shadow other packages.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or '.') != folder]
    for arguments in json.loads(sys.argv[1]):
        print('\n' + MARK + json.dumps([arguments[0], probe(*arguments)]), flush=True)
