"""Check the environment: ``python tools/doctor.py``. Works where mmrest cannot be imported, too."""
from __future__ import annotations

import runpy
from pathlib import Path

DOCTOR = Path(__file__).resolve().parent.parent / 'mmrest' / 'doctor.py'

if __name__ == '__main__':
    runpy.run_path(str(DOCTOR), run_name='__main__')
