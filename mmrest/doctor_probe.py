"""Facts about an environment for mmrest/doctor.py, gathered by importing modules in other processes.

`collect` runs this file: ``python doctor_probe.py JSON``, with a list of ``[name of the fact, module to import,
distributions that may hold it]``. It then prints a line of JSON for each. Standard library only.
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

# Fact name -> module to import. The .models packages are what a config really needs of mmdet and mmseg. The second
# process imports mmrest; the first does not, and so finds mmcv's operators as they are without it.
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
PROBE_SECONDS = 300
# Their models need mmcv's operators, which importing mmrest provides where mmcv has none; configs import it first.
AFTER_MMREST = ('mmdet', 'mmseg', 'mmpretrain')


def installed_versions(distributions: list[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    versions = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def has_kernels(archs: list[str], major: int, minor: int) -> bool:
    """Return True if a build of torch for these architectures runs on a GPU of this compute capability."""
    built = re.findall(r'(sm|compute)_(\d+)', ' '.join(archs))
    if not built:  # names of another vendor say nothing here
        return True
    # Machine code runs on later GPUs of its generation, compute_.. is compiled for any later one.
    return any(
        divmod(int(digits), 10) <= (major, minor) and (kind == 'compute' or int(digits) // 10 == major)
        for kind, digits in built
    )


def torch_facts(torch: ModuleType) -> dict:
    """Return what torch was built for and which GPUs it can use, with the reason where it cannot."""
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
            torch.cuda.init()  # says why
    except Exception as error:
        facts['reason'] = first_line(error)
    return facts


def operator_facts() -> dict:
    """Return where the operators of mmcv come from in this process, and what they were compiled for."""
    try:
        module = importlib.import_module('mmcv._ext')
        cuda = module.get_compiling_cuda_version()
    except Exception as error:
        return {'error': first_line(error)}
    return {'provider': getattr(module, 'PROVIDER', None), 'cuda': None if cuda == 'not available' else cuda}


def extra_facts(name: str, module: ModuleType) -> dict:
    """Return what is to be known of a module beside its version."""
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
    """Import one module and return how it went."""
    spec = find_spec(module.split('.')[0])
    if spec is None or spec.origin is None:  # a folder without __init__.py is what an uninstallation left
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
    """Probe modules in another process. Return the facts that arrived and how the process ended."""
    what = [[name, module, distributions.get(name, (name,))] for name, module in modules.items()]
    try:
        result = subprocess.run(
            [sys.executable, os.path.abspath(__file__), json.dumps(what)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
        )
        output, ending = result.stdout, f'the import ended Python with status {result.returncode}'
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b'', f'the import took longer than {PROBE_SECONDS} seconds'
    lines = output.decode(errors='replace').splitlines()
    facts = dict(json.loads(line[len(MARK) :]) for line in lines if line.startswith(MARK))
    return facts, ending


def collect(distributions: dict, imports: tuple[dict, ...] = IMPORTS) -> dict:
    """Return the facts by name. Where an import kills the process, another goes on after it.

    Args:
        distributions (dict): Names by which pip may know a package, where they are not its own.
        imports (tuple): For each process, the modules to import by name of the fact.
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
    # Python puts this folder first on the path, where mmrest's own modules could be taken for other packages.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or '.') != folder]
    for what in json.loads(sys.argv[1]):
        print('\n' + MARK + json.dumps([what[0], probe(*what)]), flush=True)
