"""Store the results of the compiled operators of mmcv for the cases of tests/reference/mmcv_cases.py.

Run in an environment with mmcv 2.1.0 and its compiled operators: ``python .dev_scripts/store_mmcv_ops.py``.
"""

import sys
from pathlib import Path

import mmcv
import mmcv._ext
import numpy as np
import torch
from mmcv import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests' / 'reference'))

from mmcv_cases import STORED, cases  # noqa: E402


def main() -> None:
    """Compute and store all cases."""
    if hasattr(mmcv._ext, 'PROVIDER'):
        raise SystemExit('These are the operators of mmrest, not those of compiled mmcv.')
    values = {f'{name}/{i}': value.numpy() for name, values in cases(ops) for i, value in enumerate(values)}
    np.savez_compressed(STORED, mmcv=mmcv.__version__, torch=str(torch.__version__), **values)
    print(f'{len(values)} arrays, {STORED.stat().st_size:,} bytes: {STORED}')


if __name__ == '__main__':
    main()
