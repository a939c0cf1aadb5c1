"""The environments that mmrest is tested in: ``nox -l`` lists them, ``nox -s matrix-py312-default`` runs one.

Each is made anew in .nox, tested, entered into docs/compatibility.json and removed: minutes and some 6 GB each, nearly
all of it torch. After ``--``: ``--subset`` or ``--whole`` choose between the tests marked ``matrix`` and those of
``make test``, ``--keep`` leaves the environment there, and whatever else is for pytest.
"""

import shutil
import sys
import time
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / '.dev_scripts'))

import matrix  # noqa: E402
import version_table  # noqa: E402

nox.options.default_venv_backend = 'venv'
nox.options.reuse_existing_virtualenvs = False


def install(session: nox.Session, cell: matrix.Cell) -> None:
    """Install what belongs to a cell, and mmrest as it is in the repository."""
    constraints = Path(session.create_tmp()) / 'constraints.txt'
    constraints.write_text(matrix.make_constraints(cell, matrix.CONSTRAINTS.read_text(encoding='utf-8')))
    session.install('-c', str(constraints), 'pip', 'setuptools', 'wheel')
    session.install('-c', str(constraints), *cell.packages, *matrix.TESTS)
    if cell.compiled:
        session.install('-c', str(constraints), 'ninja', 'psutil')
        session.install(
            '-c', str(constraints), '--no-build-isolation', 'mmcv', env=dict(MMCV_WITH_OPS='1', CUDA_VISIBLE_DEVICES='')
        )
    session.install('-c', str(constraints), '--no-deps', '--no-build-isolation', '-e', str(ROOT))
    if not cell.compiled:
        session.run('python', '-m', 'mmrest.mmcv_ops', '--install')


def run_cell(session: nox.Session, name: str) -> None:
    """Make, test and record a cell."""
    cell, words = matrix.CELLS[name], list(session.posargs)
    options = {word for word in words if word in ('--subset', '--whole', '--keep')}
    whole = '--whole' in options or cell.whole and '--subset' not in options
    folder = Path(session.virtualenv.location)
    try:
        start = time.monotonic()
        install(session, cell)
        seconds = time.monotonic() - start
        report = Path(session.create_tmp()) / 'junit.xml'
        report.unlink(missing_ok=True)
        session.run(
            'python',
            '-m',
            'pytest',
            '-q',
            *([] if whole else ['-m', 'matrix']),
            f'--junitxml={report}',
            *(word for word in words if word not in options),
            success_codes=range(256),
        )
        if not report.is_file():
            session.error('pytest has written no report, so nothing is recorded.')
        new = matrix.make_entry(cell, str(folder / 'bin' / 'python'), report, folder, seconds, whole)
        matrix.write_entry(name, new)
        version_table.main(['--write'])  # the table in docs/installation.md says what the record says
        if new['failed'] or not new['passed']:
            session.error(f'{new["passed"]} passed, {new["failed"]} failed: {", ".join(new["failures"])}')
    finally:
        if '--keep' not in options:
            shutil.rmtree(folder, ignore_errors=True)


for _name, _cell in matrix.CELLS.items():

    def _session(session: nox.Session, name: str = _name) -> None:
        run_cell(session, name)

    nox.session(_session, name=f'matrix-{_name}', python=matrix.find_python(_cell.python) or _cell.python)
