"""Warning about backbones that start from random weights."""

from __future__ import annotations

from typing import Any, Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import nn

from ...backbones.pyramid import PyramidBackbone
from ...checkpoints.loading import inner_model


class InitialWeightsHook(Hook):
    """Log a warning before training if a backbone of this package starts from random weights.

    A config with ``from_scratch = True`` does so on purpose. Others may have forgotten a checkpoint, and the log of a
    run does not show it otherwise.
    """

    # After the reports of other hooks, which are longer.
    priority = 'LOWEST'

    def before_train(self, runner: Any) -> None:
        """Look at the model, which is initialized by now and has loaded the checkpoint of the run, if there is one."""
        if runner._has_loaded or runner.cfg.get('from_scratch') or not is_main_process():
            return
        model = inner_model(runner.model)
        names = find_random_backbones(model)
        if names:
            frozen = [name for name in names if getattr(model.get_submodule(name), 'frozen_stages', -1) >= 0]
            runner.logger.warning(describe_random_backbones(names, frozen))


def find_random_backbones(model: nn.Module) -> list[str]:
    """Return the names of backbones of this package that no ``init_cfg`` of type 'Pretrained' has filled.

    Args:
        model (nn.Module): Model after ``init_weights()``.
    """
    modules = dict(model.named_modules())
    backbones = [name for name, module in modules.items() if isinstance(module, PyramidBackbone)]
    pretrained = [name for name, module in modules.items() if _is_pretrained(getattr(module, 'init_cfg', None))]
    return [
        name for name in backbones if not any(part in ('', name) or name.startswith(f'{part}.') for part in pretrained)
    ]


def _is_pretrained(init_cfg: Any) -> bool:
    settings = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    kinds = [each.get('type') for each in settings if isinstance(each, dict)]
    return any(getattr(kind, '__name__', kind) in ('Pretrained', 'PretrainedInit') for kind in kinds)


def describe_random_backbones(names: list[str], frozen: Sequence[str] = ()) -> str:
    """Return the warning for backbones that start from random weights.

    Args:
        names (list[str]): Their names in the model.
        frozen (Sequence[str]): Those with frozen stages, whose weights would stay random.
    """
    keys = list(map(_key, names))
    plural = len(names) > 1
    text = (
        f'{", ".join(keys)} start{"" if plural else "s"} from RANDOM WEIGHTS: neither init_cfg nor load_from names a '
        "checkpoint. The papers' schedules are made for weights trained on ImageNet. To load some: --cfg-options "
        f'{keys[0]}.init_cfg.type=Pretrained {keys[0]}.init_cfg.checkpoint=FILE. To train from scratch on purpose, set '
        'from_scratch = True in the config.'
    )
    for key in map(_key, frozen):
        text += f' With {key}.frozen_stages, its first layers would stay random: set it to -1.'
    return text


def _key(name: str) -> str:
    """Return the key in a config of a module of the model."""
    return f'model.{name}' if name else 'model'
