"""Import modules one after another and print what is found, a line of JSON each, for mmrest/doctor.py.

Run as a file, in a process of its own: ``python doctor_probe.py JSON``, with a list of
``[name of the fact, module to import, distributions that may hold it]``. Standard library only.
"""
from __future__ import annotations

import contextlib
import glob
import importlib
import json
import os
import sys
from importlib import metadata
from importlib.util import find_spec
from types import ModuleType

MARK = '@fact '
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


def torch_facts(torch: ModuleType) -> dict:
    """Return what torch was built for and which GPUs it can use, with the reason where it cannot."""
    facts = {'cuda': torch.version.cuda, 'devices': [], 'archs': [], 'reason': '',
             'nvidia': bool(glob.glob('/dev/nvidia[0-9]*') or glob.glob('/dev/dxg')),
             'hidden': os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')}
    try:
        if torch.cuda.is_available():
            facts['devices'] = [[torch.cuda.get_device_name(i), *torch.cuda.get_device_capability(i)]
                                for i in range(torch.cuda.device_count())]
            facts['archs'] = torch.cuda.get_arch_list()
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
        return {'registered': 'ResT' in MODELS.module_dict, 'path': module.__file__,
                'ops': operator_facts() if find_spec('mmcv') else {}}
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


if __name__ == '__main__':
    # Python puts this folder first on the path, where mmrest's own modules could be taken for other packages.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or '.') != folder]
    for what in json.loads(sys.argv[1]):
        print('\n' + MARK + json.dumps([what[0], probe(*what)]), flush=True)
