"""mmpretrain beside a torch that no torchvision was built for, as torch for the CPU often is.

mmpretrain imports torchvision, whose import registers kernels for operators of its compiled part. Where that
part cannot be loaded the operators are unknown and the import stops; once they are declared it goes through, and
classification needs none of them. In a process of its own: ``python torchvision_operators.py SCRIPT [ARGS]``.
"""
import importlib
import runpy
import sys
from pathlib import Path

# Where the environment keeps a torchvision that cannot be imported as it is; see tools/setup_env.py.
ASIDE = Path(sys.prefix) / 'torchvision-aside'
OPERATORS = [f'{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor' for name in ('nms', 'qnms')]


def import_torchvision() -> None:
    """Import torchvision, with its operators declared where they are missing.

    Raises:
        ImportError: There is no torchvision.
    """
    try:
        importlib.import_module('torchvision')
        return
    except ImportError:
        if not ASIDE.is_dir():
            raise
        sys.path.append(str(ASIDE))
    except RuntimeError:  # what remains of the attempt
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
    import torch
    # Held for as long as the process runs: a declaration goes with its library.
    import_torchvision.library = torch.library.Library('torchvision', 'DEF')
    for operator in OPERATORS:
        import_torchvision.library.define(operator)
    importlib.import_module('torchvision')


if __name__ == '__main__':
    import_torchvision()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name='__main__')
