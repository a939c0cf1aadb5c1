"""Check an environment for mmrest: for each problem, its cause and the command that fixes it.

Run it as ``mmrest doctor`` or as a file, ``python mmrest/doctor.py``; both work where mmrest cannot be imported, e.g.
without torch. It uses the standard library only. All imports are tested in another process by ``doctor_probe.py``, so
that a crash does not hide other problems.

``doctor_probe.py`` collects facts; `diagnose` converts them to findings without side effects.
"""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

PROBE = Path(__file__).resolve().with_name('doctor_probe.py')

PIP = 'python -m pip install'
UNINSTALL = 'python -m pip uninstall -y'
INSTALL_OPS = 'python -m mmrest.mmcv_ops --install'
INSTALL_MMREST = f'{PIP} -e . --no-deps (in the mmrest repository)'
SETUPTOOLS = f'{PIP} "setuptools<82"'
TORCHVISION = 'torchvision==0.29.1'

# Distributions of packages whose import name differs; the first one is recommended. Names with onedl- are those of the
# maintained fork.
DISTRIBUTIONS = {
    'cv2': ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless'),
    'PIL': ('pillow',),
    'yaml': ('pyyaml',),
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv-lite', 'mmcv', 'onedl-mmcv', 'mmcv-full'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}

# Common errors: (pattern, cause, command that fixes it); the first match is used. {opencv} is replaced by the version
# of OpenCV, {mmcv} by commands that reinstall mmcv, {torchvision} by the version that matches torch.
KNOWN_ERRORS = (
    (
        r'libGL|libgthread',
        'OpenCV needs a system library (libGL) that is not installed',
        f'{PIP} --force-reinstall --no-deps opencv-python-headless{{opencv}}',
    ),
    (
        r"No module named 'mmcv\._ext'",
        'mmcv has no compiled operators, and mmrest did not replace them',
        INSTALL_OPS,
    ),
    (r"No module named 'mmrest", 'mmcv takes its operators from mmrest, which cannot be imported', INSTALL_MMREST),
    (
        r'undefined symbol|[Ss]ymbol not found|lib(torch|c10|cudart)\S*: cannot open',
        'it was compiled for another version of torch',
        '{mmcv}',
    ),
    (r'MMCV==\S+ is used but incompatible', 'mmdet 3.3 and mmseg 1.2 need mmcv >= 2.0.0rc4 and < 2.2.0', '{mmcv}'),
    (r"No module named 'pkg_resources'", 'setuptools 82 removed pkg_resources', SETUPTOOLS),
    (r"No module named '(ftfy|regex)'", 'mmseg needs ftfy and regex but does not declare them', f'{PIP} ftfy regex'),
    (
        r'operator torchvision::',
        'torchvision was built for another torch, or for CUDA while torch is built for the CPU',
        f'{PIP} --force-reinstall --no-deps {{torchvision}} (from the same index as torch)',
    ),
    (
        r'numpy\.dtype size changed|compiled using NumPy 1|_ARRAY_API not found|numpy\.core\.multiarray',
        'a compiled package does not work with this NumPy',
        f'{PIP} --upgrade --force-reinstall --no-deps pycocotools opencv-python matplotlib scipy',
    ),
    (
        r"'pkgutil' has no attribute 'find_loader'",
        'Python 3.14 removed pkgutil.find_loader',
        'create a new environment, e.g. make install PYTHON=python3.11',
    ),
)


class Finding(NamedTuple):
    """One line of the report; `fix` is a command or an instruction, empty if nothing has to be done."""

    status: str  # 'ok', 'note' or 'FAIL'
    name: str
    detail: str
    fix: str = ''


def version_key(version: str) -> tuple:
    """Return a sort key of a version: 2.0.0rc4 < 2.0.0 < 2.2.0; local parts such as '+cpu' are ignored."""
    match = re.match(r'(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.?(?:a|b|rc|dev)(\d+))?', version)
    if match is None:
        return (0, 0, 0, 0, 0)
    major, minor, patch, pre = match.groups()
    return (int(major), int(minor or 0), int(patch or 0), int(pre is None), int(pre or 0))


# --- Helpers. A fact is a dict {'installed': bool, 'version': str, 'error': str, ...}. ---


def present(facts: dict, name: str) -> bool:
    """Return True if a package is installed."""
    return facts[name]['installed']


def works(facts: dict, name: str) -> bool:
    """Return True if a package is installed and can be imported."""
    return present(facts, name) and not facts[name].get('error')


def distributions(facts: dict, name: str) -> list[str]:
    """Return the names of the distributions that a module may come from."""
    return facts[name].get('distributions') or []


def is_fork(facts: dict) -> bool:
    """Return True if the mmengine of the maintained fork is installed."""
    return distributions(facts, 'mmengine') == ['onedl-mmengine']


def install_name(name: str) -> str:
    """Return the recommended distribution of a package."""
    return DISTRIBUTIONS.get(name, (name,))[0]


def matching_torchvision(facts: dict) -> str:
    """Return the torchvision that matches the installed torch: 0.29.1 for 2.14.1, 0.28.0 for 2.13.0 and so on."""
    major, minor, patch, *_ = version_key(facts['torch'].get('version') or '')
    return f'torchvision==0.{minor + 15}.{patch}' if major == 2 else TORCHVISION


def renew_mmcv(facts: dict) -> str:
    """Return the commands that replace any mmcv by a pure-Python one with the operators of mmrest."""
    found = distributions(facts, 'mmcv')
    remove = f'{UNINSTALL} {" ".join(found)} && ' if found else ''
    install = 'onedl-mmcv' if is_fork(facts) else 'mmcv-lite==2.1.0'
    return f'{remove}{PIP} {install} {matching_torchvision(facts)} && {INSTALL_OPS}'


def explain(facts: dict, error: str, package: str, install: str) -> tuple[str, str]:
    """Return cause and fix of an import error.

    Args:
        facts (dict): Facts by name.
        error (str): Error message.
        package (str): Package that was imported.
        install (str): Command that installs the package.
    """
    for pattern, cause, fix in KNOWN_ERRORS:
        # torch does not depend on mmcv, so reinstalling mmcv cannot fix torch.
        if re.search(pattern, error) and not (fix == '{mmcv}' and package in ('torch', 'torchvision')):
            opencv = facts['cv2'].get('version')
            return cause, fix.format(
                opencv=f'=={opencv}' if opencv else '', mmcv=renew_mmcv(facts), torchvision=matching_torchvision(facts)
            )
    match = re.search(r"No module named '(\w+)", error)
    if match and match.group(1) != package:
        missing = match.group(1)
        return f'{missing} is missing', f'{PIP} {install_name(missing)}'
    if '--force-reinstall' not in install:
        install = install.replace(PIP, f'{PIP} --force-reinstall --no-deps', 1)
    return 'the installation is broken', install


def check_import(facts: dict, name: str, needed_by: str, install: str = '', optional: bool = False) -> Finding:
    """Check that a package can be imported."""
    fact = facts[name]
    version = fact.get('version') or ''
    install = install or f'{PIP} {install_name(name)}'
    if not fact['installed']:
        status = 'note' if optional else 'FAIL'
        return Finding(status, name, f'not installed (needed by {needed_by})', install)
    if fact.get('error'):
        cause, fix = explain(facts, fact['error'], name, install)
        return Finding('FAIL', name, f'{version} {cause} [{fact["error"]}]'.strip(), fix)
    named = [found for found in distributions(facts, name) if found.startswith('onedl-') or name == 'mmcv']
    return Finding('ok', name, version + (f' ({", ".join(named)})' if named else ''))


def limit_version(finding: Finding, low: str, high: str, why: str, fix: str) -> Finding:
    """Turn an ok finding into a FAIL if its version is not in [low, high); an empty high means no limit."""
    if finding.status != 'ok':
        return finding
    version = version_key(finding.detail)
    if version_key(low) <= version and (not high or version < version_key(high)):
        return finding
    return Finding('FAIL', finding.name, f'{finding.detail}: {why}', fix)


# --- Checks ---


def check_python(facts: dict) -> list[Finding]:
    """Check the Python version; OpenMMLab's mmengine does not run on 3.14, that of the fork does."""
    version = facts['python']['version']
    new = 'create a new environment, e.g. make install PYTHON=python3.11'
    finding = limit_version(Finding('ok', 'python', version), '3.10', '', 'mmrest needs Python >= 3.10', new)
    if is_fork(facts):
        return [finding]
    return [
        limit_version(
            finding,
            '3.10',
            '3.14',
            'mmengine 0.10.7 calls pkgutil.find_loader, which Python 3.14 removed',
            f'{new}, or install onedl-mmengine, the maintained fork',
        )
    ]


def check_basics(facts: dict) -> list[Finding]:
    """Check the requirements of mmrest itself."""
    install_torch = f'{PIP} torch==2.14.1'
    install_mmengine = f'{PIP} mmengine==0.10.7 "setuptools<82"'
    findings = [
        limit_version(
            check_import(facts, 'torch', 'mmrest', install_torch), '2.4', '', 'mmrest needs torch >= 2.4', install_torch
        ),
        limit_version(
            check_import(facts, 'mmengine', 'mmrest', install_mmengine),
            '0.10',
            '1.0',
            'mmrest needs mmengine >= 0.10 and < 1',
            install_mmengine,
        ),
    ]
    if not is_fork(facts):  # mmengine of the fork does not need it
        findings.append(check_import(facts, 'setuptools', 'mmengine, for configs that inherit mmdet::...', SETUPTOOLS))
    return findings + [check_import(facts, name, 'mmengine') for name in ('numpy', 'cv2', 'matplotlib')]


def check_shared_files(facts: dict) -> list[Finding]:
    """Check for several distributions of one package, which overwrite each other's files."""
    findings = []
    for name in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
        found = distributions(facts, name)
        if len(found) > 1:
            broken = not works(facts, name) or (name == 'mmcv' and not works(facts, 'mmcv_ops'))
            findings.append(
                Finding(
                    'FAIL' if broken else 'note',
                    ' + '.join(found),
                    'have the same files: removing or changing one breaks the other',
                    f'{UNINSTALL} {" ".join(found)}, then install one of them again',
                )
            )
    return findings


def check_torchvision(facts: dict) -> list[Finding]:
    """Check torchvision, whose operators replace those of mmcv if these are not compiled."""
    ops, ops_after_mmrest = facts['mmcv_ops'], facts['mmrest'].get('ops') or {}
    missing = re.search(r"No module named '(mmcv\._ext|mmrest|torchvision)", ops.get('error') or '')
    is_needed = present(facts, 'mmcv') and (ops.get('provider') or ops_after_mmrest.get('provider') or missing)
    if not present(facts, 'torchvision') and not is_needed:
        return []  # mmpretrain, which needs it, has its own finding
    needed_by = "mmrest's replacement of mmcv's operators" if is_needed else 'mmpretrain'
    return [check_import(facts, 'torchvision', needed_by, f'{PIP} {matching_torchvision(facts)}')]


def check_mmcv(facts: dict) -> list[Finding]:
    """Check mmcv and its operators, which mmdet and mmseg require."""
    renew = renew_mmcv(facts)
    optional = not (present(facts, 'mmcv') or present(facts, 'mmdet') or present(facts, 'mmseg'))
    finding = check_import(facts, 'mmcv', 'mmdet and mmseg', renew, optional)
    if 'onedl-mmcv' in distributions(facts, 'mmcv'):
        finding = limit_version(finding, '2.3', '2.4', 'mmrest is tested with onedl-mmcv 2.3', renew)
    else:
        finding = limit_version(
            finding, '2.0.0rc4', '2.2.0', 'mmdet 3.3 refuses mmcv 2.2, and 1.x is the API before mmengine', renew
        )
    if not works(facts, 'mmcv'):
        return [finding]
    return [finding, *check_operators(facts)]


def check_operators(facts: dict) -> list[Finding]:
    """Check the operators in programs that do not import mmrest first, and in programs that do."""
    ops = facts['mmcv_ops']
    ops_after_mmrest = (facts['mmrest'].get('ops') or {}) if works(facts, 'mmrest') else {}
    devices = facts['torch'].get('devices')
    if not works(facts, 'torchvision') and (ops.get('provider') or ops_after_mmrest.get('provider')):
        return []  # torchvision has to be fixed first
    if ops.get('provider'):
        partly = ', in addition to those of mmcv compiled for the CPU' if ops['provider'] != 'mmrest' else ''
        return [Finding('ok', 'operators', f'by mmrest and torchvision{partly}')]
    if not ops.get('error'):
        build = f'compiled with CUDA {ops["cuda"]}' if ops.get('cuda') else 'compiled for the CPU'
        if ops.get('cuda') or not devices:
            return [Finding('ok', 'operators', build)]
        if ops_after_mmrest.get('provider'):
            return [
                Finding(
                    'note',
                    'operators',
                    f'{build}; torchvision is used for CUDA tensors if mmrest is imported first',
                    f'{INSTALL_OPS} (for any import order)',
                )
            ]
        return [Finding('FAIL', 'operators', f'{build}, without support for CUDA tensors', renew_mmcv(facts))]
    if re.search("No module named '(mmcv._ext|torchvision)", ops['error']):
        if ops_after_mmrest.get('provider'):
            return [
                Finding(
                    'note',
                    'operators',
                    'by mmrest, if mmrest is imported first',
                    f"{INSTALL_OPS} (for any import order, as in mmdet's own tools)",
                )
            ]
        if not works(facts, 'torchvision'):
            return []
        ops = ops_after_mmrest if ops_after_mmrest.get('error') else ops
    cause, fix = explain(facts, ops['error'], 'mmcv', renew_mmcv(facts))
    return [Finding('FAIL', 'operators', f'{cause} [{ops["error"]}]', fix)]


def check_gpu(facts: dict) -> list[Finding]:
    """Check for GPUs that torch can use."""
    torch = facts['torch']
    if not works(facts, 'torch'):
        return []
    build = f'torch is built for CUDA {torch["cuda"]}' if torch.get('cuda') else 'torch is a CPU-only build'
    findings = []
    for name, arch, usable in torch.get('devices') or []:
        if usable:
            findings.append(Finding('ok', 'GPU', f'{name}; {build}'))
        else:
            findings.append(
                Finding(
                    'note',
                    'GPU',
                    f'{name}: this torch has no kernels for the architecture {arch}; '
                    'with CUDA_VISIBLE_DEVICES= the CPU is used',
                    'export CUDA_VISIBLE_DEVICES= (or install a torch for an older CUDA)',
                )
            )
    if findings:
        return findings
    if not torch.get('nvidia') or torch.get('hidden'):
        return [Finding('note', 'GPU', f'none found; {build}')]
    if not torch.get('cuda'):
        return [Finding('note', 'GPU', f'there is one, but {build}; the CPU is used')]
    reason = f' [{torch["reason"]}]' if torch.get('reason') else ''
    return [
        Finding(
            'note',
            'GPU',
            f'there is one, but torch cannot use it; {build}; the CPU is used{reason}',
            'update the driver, or install a torch for an older CUDA',
        )
    ]


def check_frameworks(facts: dict) -> list[Finding]:
    """Check mmdet, mmseg and mmpretrain, which are optional, but have to work if installed."""
    findings = [check_import(facts, 'mmdet', 'detection', f'{PIP} mmdet==3.3.0', optional=True)]
    if present(facts, 'mmdet'):
        findings.append(check_import(facts, 'pycocotools', 'mmdet'))
    findings.append(
        check_import(facts, 'mmseg', 'segmentation', f'{PIP} mmsegmentation==1.2.2 ftfy regex', optional=True)
    )
    if present(facts, 'mmseg'):
        undeclared = 'mmseg, which does not declare it'
        findings += [check_import(facts, name, undeclared) for name in ('ftfy', 'regex')]
    if works(facts, 'torchvision') or not present(facts, 'mmpretrain'):
        findings.append(check_import(facts, 'mmpretrain', 'classification', f'{PIP} mmpretrain==1.2.0', optional=True))
    else:
        findings.append(
            Finding(
                'note',
                'mmpretrain',
                'classification needs a torchvision that matches torch',
                f'{PIP} {matching_torchvision(facts)}',
            )
        )
    return findings


def check_mmrest(facts: dict) -> list[Finding]:
    """Check that importing mmrest registers ResT in mmengine's MODELS."""
    finding = check_import(facts, 'mmrest', 'configs that name ResT', INSTALL_MMREST)
    if finding.status != 'ok':
        return [finding]
    if not facts['mmrest'].get('registered'):
        where = facts['mmrest'].get('path')
        return [
            Finding(
                'FAIL',
                'mmrest',
                f"imported from {where}, but ResT is not in mmengine's MODELS: another package with this name?",
                INSTALL_MMREST,
            )
        ]
    hint = "a config needs custom_imports = dict(imports=['mmrest'], allow_failed_imports=False)"
    return [Finding('ok', 'mmrest', f'{finding.detail}, ResT is registered; {hint}')]


def diagnose(facts: dict) -> list[Finding]:
    """Return all findings, causes before their consequences."""
    checks = (
        check_python,
        check_basics,
        check_torchvision,
        check_shared_files,
        check_mmcv,
        check_gpu,
        check_frameworks,
        check_mmrest,
    )
    return [finding for check in checks for finding in check(facts)]


def report(findings: list[Finding]) -> int:
    """Print the findings and return the exit status."""
    shown = set()
    for finding in findings:
        print(f'{finding.status:4}  {finding.name:12} {finding.detail}')
        if finding.fix:
            print(
                f'      {"fix" if finding.status == "FAIL" else "how"}: '
                f'{"the same as above" if finding.fix in shown else finding.fix}'
            )
            shown.add(finding.fix)
    failed = sum(finding.status == 'FAIL' for finding in findings)
    if failed:
        print(
            f'\n{failed} of {len(findings)} checks failed. Fix the first one first: it often causes the '
            f'others.\nIn the commands, python is {sys.executable}; `make install` in the mmrest '
            'repository creates a complete environment.'
        )
    else:
        print('\nThe environment is fine.')
    return int(failed > 0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog='Exit status: 0 if there are no problems, else 1.',
    )
    parser.parse_args(argv)
    print(f'mmrest doctor: {sys.executable}\n')
    collect = runpy.run_path(str(PROBE))['collect']  # not imported, since this file also runs outside the package
    return report(diagnose(collect(DISTRIBUTIONS)))


if __name__ == '__main__':
    sys.exit(main())
