"""Check an environment for mmrest and say, for each problem, its cause and the command that mends it.

Run it as ``python -m mmrest.doctor`` or, where mmrest cannot be imported (no torch, say), as a file:
``python mmrest/doctor.py``. It uses the standard library only. Every import under test runs in another
process, so that one that crashes hides nothing else.

`collect` gathers facts; `diagnose` turns facts into findings and touches nothing, so that it can be
tested with made-up facts.
"""
from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple

PIP = 'python -m pip install'
REBUILD_MMCV = (f'{PIP} "setuptools<82" wheel ninja psutil && MMCV_WITH_OPS=1 {PIP} --no-build-isolation '
                '--no-cache-dir --force-reinstall --no-deps --no-binary mmcv mmcv==2.1.0')
HEADLESS = f'{PIP} --force-reinstall --no-deps opencv-python-headless==4.11.0.86'

# What pip calls a package whose import name is different.
DISTRIBUTIONS = {'cv2': 'opencv-python', 'mmseg': 'mmsegmentation', 'PIL': 'pillow', 'yaml': 'pyyaml'}

# Error texts users meet: (pattern, cause, command that mends it). The first that matches counts.
KNOWN_ERRORS = (
    (r'libGL|libgthread', 'OpenCV needs a system library (libGL) that this machine lacks', HEADLESS),
    (r"No module named 'mmcv\._ext'", 'mmcv was built without its compiled ops, or is mmcv-lite',
     REBUILD_MMCV),
    (r'undefined symbol|[Ss]ymbol not found|lib(torch|c10|cudart)\S*: cannot open',
     "mmcv's ops were compiled for another torch than the one installed", REBUILD_MMCV),
    (r'MMCV==\S+ is used but incompatible', 'mmdet 3.3 and mmseg 1.2 need mmcv >= 2.0.0rc4 and < 2.2.0',
     REBUILD_MMCV),
    (r"No module named 'pkg_resources'", 'setuptools 82 removed pkg_resources', f'{PIP} "setuptools<82"'),
    (r"No module named '(ftfy|regex)'", 'mmseg needs ftfy and regex but does not declare them',
     f'{PIP} ftfy regex'),
    (r'operator torchvision::', 'torchvision was built for another torch, or for CUDA beside a torch for the CPU',
     'install the torchvision that goes with torch, from where torch came from (0.28.0 for torch 2.13.0, 0.23.0 for '
     '2.8.0); without mmpretrain, uninstall it'),
    (r'numpy\.dtype size changed|compiled using NumPy 1|_ARRAY_API not found|numpy\.core\.multiarray',
     'a compiled package does not work with this NumPy', f'{PIP} numpy==1.26.4'),
)


class Finding(NamedTuple):
    """One line of the report; `fix` is a command or an instruction, empty where nothing is to be done."""

    status: str  # 'ok', 'note' or 'FAIL'
    name: str
    detail: str
    fix: str = ''


def version_key(version: str) -> tuple:
    """Order versions well enough for the limits below: 2.0.0rc4 < 2.0.0 < 2.2.0; '+cpu' is ignored."""
    match = re.match(r'(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.?(?:a|b|rc|dev)(\d+))?', version)
    if match is None:
        return (0, 0, 0, 0, 0)
    major, minor, patch, pre = match.groups()
    return (int(major), int(minor or 0), int(patch or 0), int(pre is None), int(pre or 0))


def explain(error: str, package: str, install: str) -> tuple[str, str]:
    """Cause and fix of an import error met while importing `package`, which `install` would install."""
    for pattern, cause, fix in KNOWN_ERRORS:
        # torch does not use mmcv: where torch itself lacks a library, mmcv is not to blame.
        if re.search(pattern, error) and not (package == 'torch' and fix == REBUILD_MMCV):
            return cause, fix
    match = re.search(r"No module named '(\w+)", error)
    if match and match.group(1) != package:
        missing = match.group(1)
        return f'{missing} is missing', f'{PIP} {DISTRIBUTIONS.get(missing, missing)}'
    if '--force-reinstall' not in install:
        install = install.replace(PIP, f'{PIP} --force-reinstall --no-deps', 1)
    return 'the installation is broken', install


# --- From facts to findings. A fact is {'installed': bool, 'version': str, 'error': str, ...}. ---

def present(facts: dict, name: str) -> bool:
    return facts[name]['installed']


def works(facts: dict, name: str) -> bool:
    return present(facts, name) and not facts[name].get('error')


def check_import(facts: dict, name: str, needed_by: str, install: str = '',
                 optional: bool = False) -> Finding:
    """The finding on a package that has only to be importable."""
    fact = facts[name]
    version = fact.get('version') or ''
    install = install or f'{PIP} {DISTRIBUTIONS.get(name, name)}'
    if not fact['installed']:
        status = 'note' if optional else 'FAIL'
        return Finding(status, name, f'not installed (needed by {needed_by})', install)
    if fact.get('error'):
        cause, fix = explain(fact['error'], name, install)
        return Finding('FAIL', name, f'{version} {cause} [{fact["error"]}]'.strip(), fix)
    return Finding('ok', name, version)


def limit_version(finding: Finding, low: str, high: str, why: str, fix: str) -> Finding:
    """Turn an ok finding into a FAIL where its version is not in [low, high); an empty high is no limit."""
    if finding.status != 'ok':
        return finding
    version = version_key(finding.detail)
    if version_key(low) <= version and (not high or version < version_key(high)):
        return finding
    return Finding('FAIL', finding.name, f'{finding.detail}: {why}', fix)


def old_python(facts: dict) -> bool:
    """Whether the newest torch that this Python can have is 2.8."""
    return version_key(facts['python']['version']) < version_key('3.10')


def check_python(facts: dict) -> list[Finding]:
    version = facts['python']['version']
    finding = limit_version(Finding('ok', 'python', version), '3.9', '3.13',
                            'mmcv 2.1 and NumPy 1.26 need Python 3.9 to 3.12',
                            'make a new environment, e.g. make install PYTHON=python3.11')
    return [finding]


def check_basics(facts: dict) -> list[Finding]:
    """What mmrest needs even without mmdet and mmseg."""
    install_torch = f'{PIP} torch==' + ('2.8.0' if old_python(facts) else '2.13.0')
    install_mmengine = f'{PIP} mmengine==0.10.7'
    torch = limit_version(check_import(facts, 'torch', 'mmrest', install_torch), '2.4', '',
                          'mmrest needs torch >= 2.4', install_torch)
    mmengine = limit_version(check_import(facts, 'mmengine', 'mmrest', install_mmengine), '0.10', '1.0',
                             'mmrest needs mmengine >= 0.10 and < 1', install_mmengine)
    setuptools = check_import(facts, 'setuptools', "mmengine and mmcv's build", f'{PIP} "setuptools<82"')
    numpy = check_import(facts, 'numpy', 'mmengine', f'{PIP} numpy==1.26.4')
    if numpy.status == 'ok' and version_key(numpy.detail) >= version_key('2.0'):
        numpy = Finding('note', 'numpy', f'{numpy.detail}: the OpenMMLab releases are older than NumPy 2',
                        f'{PIP} numpy==1.26.4 (if something in mmdet or mmseg breaks)')
    return [torch, mmengine, setuptools, numpy,
            check_import(facts, 'cv2', 'mmengine', f'{PIP} opencv-python==4.11.0.86'),
            check_import(facts, 'matplotlib', 'mmengine')]


def check_mmcv(facts: dict) -> list[Finding]:
    """mmcv and its compiled ops, which mmdet and mmseg cannot do without."""
    if not present(facts, 'mmcv') and not (present(facts, 'mmdet') or present(facts, 'mmseg')):
        return [check_import(facts, 'mmcv', 'mmdet and mmseg', REBUILD_MMCV, optional=True)]
    mmcv = limit_version(check_import(facts, 'mmcv', 'mmdet and mmseg', REBUILD_MMCV), '2.0.0rc4', '2.2.0',
                         'mmcv 2.2 is refused by mmdet 3.3, and 1.x is the API before mmengine', REBUILD_MMCV)
    findings = [mmcv]
    if facts['mmcv'].get('lite'):
        findings.append(Finding('FAIL', 'mmcv-lite', 'takes the place of mmcv and has no ops',
                                f'python -m pip uninstall -y mmcv-lite && {REBUILD_MMCV}'))
    if not works(facts, 'mmcv'):
        return findings
    ops = facts['mmcv_ops']
    if ops.get('error'):
        cause, fix = explain(ops['error'], 'mmcv', REBUILD_MMCV)
        findings.append(Finding('FAIL', 'mmcv ops', f'{cause} [{ops["error"]}]', fix))
    else:
        build = f'built with CUDA {ops["cuda"]}' if ops.get('cuda') else 'built for the CPU only'
        findings.append(Finding('ok', 'mmcv ops', build))
    return findings


def check_cuda(facts: dict) -> list[Finding]:
    """Whether GPUs are seen, and whether mmcv's ops can use them."""
    torch, ops = facts['torch'], facts['mmcv_ops']
    if not works(facts, 'torch'):
        return []
    build = f'torch is built for CUDA {torch["cuda"]}' if torch.get('cuda') else 'torch is a CPU-only build'
    devices = ', '.join(torch.get('devices') or [])
    if not devices:
        return [Finding('note', 'GPU', f'none seen; {build}')]
    if works(facts, 'mmcv_ops') and not ops.get('cuda'):
        rebuild = REBUILD_MMCV.replace('MMCV_WITH_OPS=1', 'MMCV_WITH_OPS=1 FORCE_CUDA=1')
        return [Finding('FAIL', 'GPU', f"{devices}: seen, but mmcv's ops are built for the CPU only",
                        f'install the CUDA {torch.get("cuda")} toolkit (nvcc), then {rebuild} '
                        '(or work without the GPU: export CUDA_VISIBLE_DEVICES=)')]
    return [Finding('note', 'GPU', f'{devices}; {build}')]


def check_frameworks(facts: dict) -> list[Finding]:
    """mmdet, mmseg and mmpretrain are optional; one that is there has to work."""
    findings = [check_import(facts, 'mmdet', 'detection', f'{PIP} mmdet==3.3.0', optional=True)]
    if present(facts, 'mmdet'):
        findings.append(check_import(facts, 'pycocotools', 'mmdet'))
    findings.append(check_import(facts, 'mmseg', 'segmentation', f'{PIP} mmsegmentation==1.2.2 ftfy regex',
                                 optional=True))
    if present(facts, 'mmseg'):
        undeclared = 'mmseg, which does not declare it'
        findings += [check_import(facts, name, undeclared) for name in ('ftfy', 'regex')]
    if present(facts, 'torchvision'):  # if it is broken, no runner of mmengine starts: each asks for its version
        findings.append(check_import(facts, 'torchvision', 'mmpretrain'))
    if works(facts, 'torchvision') or not present(facts, 'mmpretrain'):
        findings.append(check_import(facts, 'mmpretrain', 'classification', f'{PIP} mmpretrain==1.2.0', optional=True))
    else:
        findings.append(Finding('note', 'mmpretrain', 'classification needs a torchvision that goes with torch',
                                f'{PIP} torchvision==' + ('0.23.0' if old_python(facts) else '0.28.0')))
    return findings


def check_mmrest(facts: dict) -> list[Finding]:
    """Whether importing mmrest registers ResT where the configs of mmdet and mmseg look for it."""
    install = f'{PIP} -e . --no-deps (in the mmrest repository)'
    finding = check_import(facts, 'mmrest', 'configs that name ResT', install)
    if finding.status != 'ok':
        return [finding]
    if not facts['mmrest'].get('registered'):
        where = facts['mmrest'].get('path')
        return [Finding('FAIL', 'mmrest', f"imported from {where}, but ResT is not in mmengine's MODELS: "
                        'is that another package of this name?', install)]
    hint = "a config needs custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)"
    return [Finding('ok', 'mmrest', f'{finding.detail}, ResT is registered; {hint}')]


def diagnose(facts: dict) -> list[Finding]:
    """All findings, causes before what follows from them."""
    checks = (check_python, check_basics, check_mmcv, check_cuda, check_frameworks, check_mmrest)
    return [finding for check in checks for finding in check(facts)]


# --- Collecting facts: `probe` runs in another process, one line of JSON for each name. ---

# Fact name -> module to import. The .models packages are what a config really needs of mmdet and mmseg.
IMPORTS = {
    'setuptools': 'pkg_resources', 'numpy': 'numpy', 'cv2': 'cv2', 'matplotlib': 'matplotlib',
    'torch': 'torch', 'mmengine': 'mmengine', 'mmcv': 'mmcv', 'mmcv_ops': 'mmcv._ext',
    'pycocotools': 'pycocotools.mask', 'ftfy': 'ftfy', 'regex': 'regex', 'mmdet': 'mmdet.models',
    'mmseg': 'mmseg.models', 'torchvision': 'torchvision', 'mmpretrain': 'mmpretrain.models', 'mmrest': 'mmrest',
}
MARK = '@fact '
PROBE_SECONDS = 300


def distribution_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ''


def extra_facts(name: str, module) -> dict:
    """What is to be known of a module beside its version."""
    if name == 'torch':
        devices = [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
        return {'cuda': module.version.cuda, 'devices': devices}
    if name == 'mmcv_ops':
        cuda = module.get_compiling_cuda_version()
        return {'cuda': None if cuda == 'not available' else cuda}
    if name == 'mmrest':
        from mmengine.registry import MODELS
        return {'registered': 'ResT' in MODELS.module_dict, 'path': module.__file__}
    return {}


def probe(name: str) -> dict:
    """Import one module and say how it went."""
    package = 'mmcv' if name == 'mmcv_ops' else name
    if find_spec(package) is None:
        return {'installed': False}
    fact = {'installed': True, 'version': distribution_version(DISTRIBUTIONS.get(package, package))}
    if name == 'mmcv':
        fact['lite'] = bool(distribution_version('mmcv-lite'))
    try:
        module = importlib.import_module(IMPORTS[name])
        fact['version'] = fact['version'] or getattr(module, '__version__', '')
        fact.update(extra_facts(name, module))
    except (Exception, SystemExit) as error:
        message = str(error).strip().splitlines() or ['']
        fact['error'] = f'{type(error).__name__}: {message[0]}'
    return fact


def run_probes(names: list[str]) -> tuple[dict, str]:
    """Probe `names` in another process. Return the facts that arrived and how the process ended."""
    command = [sys.executable, os.path.abspath(__file__), '--probe', *names]
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                timeout=PROBE_SECONDS)
        output, ending = result.stdout, f'the import ended Python with status {result.returncode}'
    except subprocess.TimeoutExpired as error:
        output, ending = error.stdout or b'', f'the import took longer than {PROBE_SECONDS} seconds'
    lines = output.decode(errors='replace').splitlines()
    facts = dict(json.loads(line[len(MARK):]) for line in lines if line.startswith(MARK))
    return facts, ending


def collect() -> dict:
    """All facts `diagnose` needs. Where an import kills the process, another goes on after it."""
    facts = {'python': {'installed': True, 'version': platform.python_version()}}
    left = list(IMPORTS)
    while left:
        found, ending = run_probes(left)
        facts.update(found)
        left = [name for name in left if name not in found]
        if left:
            facts[left.pop(0)] = {'installed': True, 'error': ending}
    return facts


def report(findings: list[Finding]) -> int:
    """Print the findings; return the exit status."""
    shown = set()
    for finding in findings:
        print(f'{finding.status:4}  {finding.name:12} {finding.detail}')
        if finding.fix:
            print(f'      {"fix" if finding.status == "FAIL" else "how"}: '
                  f'{"the same as above" if finding.fix in shown else finding.fix}')
            shown.add(finding.fix)
    failed = sum(finding.status == 'FAIL' for finding in findings)
    if failed:
        print(f'\n{failed} of {len(findings)} checks failed. Mend the first one first: others often follow '
              f'from it.\nIn the commands, python is {sys.executable}; `make install` in the mmrest '
              'repository makes a complete environment.')
    else:
        print('\nThe environment is fine.')
    return int(failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog='Exit status: 0 where all is fine, 1 where something is to be mended.')
    parser.add_argument('--probe', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        for name in args.probe:
            print('\n' + MARK + json.dumps([name, probe(name)]), flush=True)
        return 0
    print(f'mmrest doctor: {sys.executable}\n')
    return report(diagnose(collect()))


if __name__ == '__main__':
    # Run as a file, Python puts this folder first on the path, where mmrest's own modules could be taken
    # for other packages.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or '.') != folder]
    sys.exit(main())
