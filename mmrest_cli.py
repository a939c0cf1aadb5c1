"""Start the console command ``mmrest`` without importing the package, whose import needs torch."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> int | None:
    """Run ``mmrest/__main__.py``, which lies beside this file, and return the exit status."""
    path = Path(__file__).resolve().with_name('mmrest') / '__main__.py'
    return runpy.run_path(str(path))['main']()


if __name__ == '__main__':
    sys.exit(main())
