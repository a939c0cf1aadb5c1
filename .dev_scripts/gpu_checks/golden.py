"""The values of the published models, where they are at hand: both backbones in float64 and float32."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrest.backbones import ResT, ResTv2

from .cases import Case, Skip
from .models import tf32
from .results import Settings

# Of the largest difference, in standard deviations; float64 first, since the weights stay as they are converted.
ALLOWED = {torch.float64: 1e-7, torch.float32: 1e-3}


def golden_cases(settings: Settings) -> list[Case]:
    """Return a case for each file, or one that says why there is none."""
    folder = Path(settings.golden) if settings.golden else None
    files = (
        sorted(folder.glob('*.json'), key=lambda path: path.stat().st_size)
        if folder and (folder / 'golden.py').is_file()
        else []
    )
    if not files:
        return [Case('values of the published models', _no_files)]
    files = files[:1] if settings.dry else files
    return [Case(f'values of {path.stem}', functools.partial(check, settings, path), seconds=3) for path in files]


def _no_files() -> dict:
    raise Skip('their files are not at hand (--golden)')


def check(settings: Settings, path: Path) -> dict:
    """Compare the maps of a backbone, and the logits where there are any, with a file of values."""
    golden = _module(path.with_name('golden.py'))
    values, arrays = golden.load(path)
    weights = {key: torch.as_tensor(array) for key, array in arrays.items()}
    name, arch = values['variant'].split('_')
    trunk = values['layout'] == 'detectron2' and name == 'rest'  # it feeds the normalized map onward
    model = dict(rest=ResT, restv2=ResTv2)[name](arch, out_norm='trunk' if trunk else 'branch').double().eval()
    model.load_state_dict(weights, strict=False)
    image = torch.from_numpy(golden.image(values['seed'], values['image']))
    problems, found = [], {}
    for dtype, allowed in ALLOWED.items():
        own, x = model.to(settings.device, dtype), image.to(settings.device, dtype)
        with torch.no_grad(), tf32(False):
            if values['layout'] == 'detectron2':
                outputs = {f'stage{i + 1}': out for i, out in enumerate(own(x))}
            else:
                outputs = classify(own, x, {key: value.to(x) for key, value in weights.items()})
        worst = max(golden.worst(values, key, out.double().cpu().numpy()) for key, out in outputs.items())
        found[str(dtype)[6:]] = worst
        if not worst <= allowed:
            problems.append(f'{str(dtype)[6:]}: off by {worst:.1e} standard deviations')
    return dict(found, problems=problems, summary=', '.join(f'{key} {value:.1e}' for key, value in found.items()))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('golden', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classify(model: nn.Module, image: Tensor, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return raw maps and logits: what the published classifier computes with this backbone."""
    raw: list[Tensor] = []
    handles = [
        getattr(model, f'norm{i + 1}').register_forward_pre_hook(lambda _, args: raw.append(args[0])) for i in range(4)
    ]
    maps = model(image)
    for handle in handles:
        handle.remove()
    last = maps[-1]
    if isinstance(model, ResTv2):  # its classifier has a norm of its own; that of ResT is the backbone's last
        tokens = F.layer_norm(raw[-1], raw[-1].shape[-1:], weights['norm.weight'], weights['norm.bias'], eps=1e-6)
        last = tokens.transpose(1, 2).unflatten(2, last.shape[2:])
    named = {
        f'stage{i + 1}': tokens.transpose(1, 2).unflatten(2, x.shape[2:])
        for i, (tokens, x) in enumerate(zip(raw, maps))
    }
    return {**named, 'logits': last.mean(dim=(2, 3)) @ weights['head.weight'].T + weights['head.bias']}
