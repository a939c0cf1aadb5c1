"""Validation of visualizer backends."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from .signatures import find_class

# Modules that mmengine's backends import, and the packages that provide them.
PACKAGES = dict(
    TensorboardVisBackend=dict(tensorboard='tensorboard'),
    WandbVisBackend=dict(wandb='wandb'),
    MLflowVisBackend=dict(mlflow='mlflow'),
    ClearMLVisBackend=dict(clearml='clearml'),
    NeptuneVisBackend=dict(neptune='neptune'),
    DVCLiveVisBackend=dict(dvclive='dvclive', pygit2='pygit2'),
    AimVisBackend=dict(aim='aim'),
)


def find_missing_backends(cfg: Config) -> list[str]:
    """Return an error for each visualizer backend whose package is not installed.

    Unregistered names are found by :mod:`.keys`.
    """
    visualizer = cfg.get('visualizer')
    backends = visualizer.get('vis_backends') if isinstance(visualizer, dict) else None
    errors = []
    strings = [
        backend
        for backend in (backends if isinstance(backends, (list, tuple)) else [backends])
        if isinstance(backend, str)
    ]
    if strings:  # a list of dicts on the command line is parsed as strings
        errors.append(
            f'visualizer.vis_backends contains the string {strings[0]!r} instead of a dict. Write '
            "vis_backends=[dict(type='...')] in the config, or --cfg-options "
            'visualizer.vis_backends.0.type=...'
        )
    for backend in backends if isinstance(backends, (list, tuple)) else [backends]:
        if isinstance(backend, dict):
            missing = _missing_packages(backend.get('type'), cfg.get('default_scope'))
            if missing:
                kind = backend['type'] if isinstance(backend['type'], str) else backend['type'].__name__
                packages = ' '.join(missing)
                errors.append(
                    f'visualizer.vis_backends has {kind}, which needs {" and ".join(missing)}, not '
                    f'installed here: pip install {packages}, or remove the backend and use '
                    "vis_backends=[dict(type='LocalVisBackend')]."
                )
    return errors


def _missing_packages(kind: Any, scope: str | None) -> list[str]:
    try:
        found = find_class(VISBACKENDS, kind, scope)
    except ImportError:  # reported by the runner
        return []
    for base in inspect.getmro(found) if inspect.isclass(found) else ():
        if base.__name__ in PACKAGES:
            return [
                package
                for module, package in PACKAGES[base.__name__].items()
                if importlib.util.find_spec(module) is None
            ]
    return []
