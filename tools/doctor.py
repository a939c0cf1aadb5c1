"""Check the environment: ``python tools/doctor.py``. Works where mmrest cannot be imported, too."""

from __future__ import annotations

import runpy
from pathlib import Path

# In the repository this file lies beside the package, in an installed package within it.
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT.parent if ROOT.name == '.mim' else ROOT / 'mmrest'

if __name__ == '__main__':
    runpy.run_path(str(PACKAGE / 'doctor.py'), run_name='__main__')
