"""Models of the benchmark by name: backbones of this package and of others, alone or in RetinaNet, and configs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Callable, ContextManager, Sequence

import torch
from torch import Tensor, nn

from ..backbones import ResT, ResTv2
from ..engine.errors import UsageError
from ..ops import IMPLS, emsa
from ..ops.processor import cpu_libraries
from .baselines import BASELINES, Baseline
from .peers import PEER_BACKBONES, build_peer, import_registry, peer_registry

OWN_BACKBONES = {f'{cls.__name__.lower()}-{arch}': (cls, arch) for cls in (ResT, ResTv2) for arch in cls.archs}
FLAGS = ('with_cp', 'ffn_recompute')
# Libraries of matrix products on a CPU, as arguments of :func:`~mmrest.ops.processor.cpu_libraries`.
LIBRARIES = {
    'blas': dict(float32='blas', bfloat16='float32'),
    'onednn': dict(float32='onednn', bfloat16='onednn'),
}
OPTIONS = (*BASELINES, *FLAGS, *IMPLS, *LIBRARIES)
LAST_STRIDE = 32  # of the backbones of this package
PARTS = ('backbone', 'attention', 'retinanet')
DTYPES = {'float32': torch.float32, 'float64': torch.float64, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@dataclass
class BenchmarkModel:
    """Model to measure, from :func:`parse_model`.

    Attributes:
        label (str): Text that the model was parsed from.
        name (str): A key of :data:`OWN_BACKBONES` or :data:`PEER_BACKBONES`, or a config file.
        options (dict): Arguments of the backbone.
        baseline (str, optional): A key of :data:`~mmrest.benchmark.baselines.BASELINES`.
        libraries (str, optional): A key of :data:`LIBRARIES`; default: those that the process has chosen.
    """

    label: str
    name: str
    options: dict = field(default_factory=dict)
    baseline: str | None = None
    libraries: str | None = None

    def part(self, part: str) -> str:
        """Return the part to measure: ``part``, or 'model' for a config, which is always measured whole."""
        return 'model' if self.is_config else part

    def check(self, part: str, shapes: Sequence[tuple[int, int]], dtype: str, device: str = 'cpu') -> None:
        """Check that the model can be measured, before anything is built.

        Args:
            part (str): As :meth:`build` takes it.
            shapes (Sequence[tuple[int, int]]): Heights and widths of the images in pixels.
            dtype (str): A key of :data:`DTYPES`.
            device (str): Device, as torch names it.

        Raises:
            UsageError: It cannot be measured, or an option would have no effect.
        """
        if part == 'attention':
            if self.name not in OWN_BACKBONES:
                raise UsageError(f'{self.label}: attention alone is measured for backbones of this package only.')
            useless = [flag for flag in FLAGS if flag in self.options]
            if useless:
                raise UsageError(f'{self.label}: {" and ".join(useless)} would change nothing in attention alone.')
        if self._is_detector(part) and dtype not in ('float32', 'bfloat16'):
            raise UsageError('Whole detectors are measured in float32, or in bfloat16 by autocast.')
        if self.libraries and (dtype not in ('float32', 'bfloat16') or device != 'cpu'):
            raise UsageError(
                f'{self.label}: {self.libraries} would change nothing: it is for float32 and bfloat16 on a CPU.'
            )
        # InstanceNorm, which ResTv2 lacks, refuses maps of a single element.
        if self.baseline == 'released' and OWN_BACKBONES[self.name][0] is ResT:
            for height, width in shapes:
                if max(height, width) <= LAST_STRIDE:
                    raise UsageError(
                        f'{self.label}, {height}x{width}: the released form needs larger maps; give '
                        f'images with a side of more than {LAST_STRIDE} pixels.'
                    )
        if self.is_config:
            _load_config(self.name)
        if self._is_detector(part):
            import_registry(self.label)
        if self.name in PEER_BACKBONES:
            peer_registry(self.name)

    @property
    def is_config(self) -> bool:
        """True for the model of a config file."""
        return self.name.endswith('.py')

    def build(
        self,
        part: str,
        shape: tuple[int, int],
        batch: int,
        dtype: str = 'float32',
        device: str = 'cpu',
        autocast: bool = False,
        compiled: bool = False,
    ) -> Callable[[bool], None]:
        """Build a function to time: ``step(train)`` runs a forward pass and, in training, a backward pass.

        Args:
            part (str): 'backbone'; 'attention', the attention of all blocks alone; or 'retinanet', a RetinaNet with
                80 classes and its losses. The model of a config is always measured whole.
            shape (tuple[int, int]): Height and width of the images in pixels.
            batch (int): Number of images.
            dtype (str): A key of :data:`DTYPES`, of parameters and images.
            device (str): Device, as torch names it.
            autocast (bool): Keep parameters and images in float32, and compute in ``dtype``; detectors always do.
            compiled (bool): Run the model through ``torch.compile``.

        Raises:
            UsageError: The model cannot be built like this.
        """
        self.check(part, [shape], dtype, device)
        libraries = self._choose_libraries
        model, inputs = self._assemble(part, shape, batch)
        if self._is_detector(part):
            return _detector_step(model, shape, batch, dtype, device, compiled, libraries)
        stored = torch.float32 if autocast else DTYPES[dtype]
        model = model.to(device, stored)
        inputs = tuple(x.to(device, stored) for x in inputs)
        context = torch.autocast(torch.device(device).type, DTYPES[dtype], enabled=autocast)
        forward = torch.compile(model) if compiled else model

        def step(train: bool) -> None:
            model.train(train)
            with torch.set_grad_enabled(train), libraries():
                with context:
                    outs = forward(*inputs)
                if train:
                    model.zero_grad(set_to_none=True)
                    # A loss of negligible cost that gives every output a gradient.
                    sum(out.sum() for out in outs).backward()

        return step

    def count_macs(self, part: str, shape: tuple[int, int], batch: int) -> int | None:
        """Count the multiply-adds of a forward pass, those of attention included, on the meta device.

        Arguments as in :meth:`build`.

        Returns:
            int | None: Their number; None for a model whose operators depend on the values of its images, such as a
            detector with heads on regions of interest.
        """
        model, inputs = self._assemble(part, shape, batch)
        model, inputs = model.to('meta'), [x.to('meta') for x in inputs]
        model.eval()  # returns nothing in some backbones of mmdet
        from torch.utils.flop_counter import FlopCounterMode  # imports triton

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            try:
                model(*inputs)
            except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
                if not self._is_detector(part):
                    raise
                return None
        return counter.get_total_flops() // 2

    def _is_detector(self, part: str) -> bool:
        return self.is_config or part == 'retinanet'

    def _choose_libraries(self) -> ContextManager:
        return cpu_libraries(**LIBRARIES[self.libraries]) if self.libraries else nullcontext()

    def _assemble(self, part: str, shape: tuple[int, int], batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Return the model and the inputs of a forward pass, in float32 on the CPU."""
        torch.manual_seed(0)
        if part == 'attention':
            return AttentionOnly(self._own(), shape, batch, self.baseline), ()
        if self.is_config:
            model = _config_model(self.name)
        else:
            model = self._retinanet() if part == 'retinanet' else self._backbone()
        return model, (torch.rand(batch, 3, *shape),)

    def _own(self, **more) -> nn.Module:
        cls, arch = OWN_BACKBONES[self.name]
        return cls(arch, **self.options, **more)

    def _backbone(self, **more) -> nn.Module:
        if self.name in OWN_BACKBONES:
            model = self._own(**more)
            return Baseline(model, self.baseline) if self.baseline else model
        return build_peer(self.name, **more)

    def _retinanet(self) -> nn.Module:
        modules = import_registry(self.label)
        from mmengine.hub import get_config

        cfg = get_config('mmdet::_base_/models/retinanet_r50_fpn.py').model
        if self.name in OWN_BACKBONES:
            channels = OWN_BACKBONES[self.name][0](OWN_BACKBONES[self.name][1]).out_channels[1:]
        else:
            channels = PEER_BACKBONES[self.name][1][1:]
        cfg.neck.update(in_channels=list(channels), start_level=0)
        cfg.backbone.init_cfg = None
        model = modules.build(cfg)
        model.backbone = self._backbone(out_indices=(1, 2, 3))
        return model


def parse_model(text: str) -> BenchmarkModel:
    """Parse ``NAME``, ``NAME:option,option`` or a config file, e.g. 'swin-t' or 'rest-small:with_cp,ffn_recompute'.

    Raises:
        UsageError: The name or an option is unknown, or options exclude each other.
    """
    name, _, given = text.partition(':')
    if name.endswith('.py'):
        if given:
            raise UsageError(f'{text}: options are for backbones of this package only.')
        return BenchmarkModel(text, name)
    name = name.lower()
    if name not in OWN_BACKBONES and name not in PEER_BACKBONES:
        raise UsageError(
            f'Unknown model {name!r}: choose from {", ".join([*OWN_BACKBONES, *PEER_BACKBONES])}, or give a config '
            'file.'
        )
    model = BenchmarkModel(text, name)
    forms = []
    for option in filter(None, given.split(',')):
        if name not in OWN_BACKBONES:
            raise UsageError(f'{text}: options are for backbones of this package only.')
        if option in BASELINES:
            model.baseline = option
        elif option in FLAGS:
            model.options[option] = True
        elif option in IMPLS:
            model.options['attn_impl'] = option
        elif option in LIBRARIES:
            if model.libraries not in (None, option):
                raise UsageError(f'{text}: choose one of {" and ".join(LIBRARIES)}.')
            model.libraries = option
        else:
            raise UsageError(f'{text}: unknown option {option!r}: choose from {", ".join(OPTIONS)}.')
        if option in (*BASELINES, *IMPLS) and option not in forms:
            forms.append(option)
    if len(forms) > 1:
        raise UsageError(f'{text}: attention takes one form at a time: choose one of {", ".join(forms)}.')
    if model.baseline and model.libraries:
        raise UsageError(f'{text}: {model.baseline} has no fast paths, so {model.libraries} would change nothing.')
    return model


class AttentionOnly(nn.Module):
    """Attention of all blocks of a backbone on random queries, keys and values, without the layers in between.

    Args:
        backbone (nn.Module): Backbone of this package, which gives numbers of heads, reductions and depths.
        shape (tuple[int, int]): Height and width in pixels of the images that the numbers of tokens follow from.
        batch (int): Number of images.
        baseline (str, optional): A key of :data:`~mmrest.benchmark.baselines.BASELINES`; default:
            :func:`mmrest.ops.emsa`.
    """

    def __init__(self, backbone: nn.Module, shape: tuple[int, int], batch: int, baseline: str | None) -> None:
        super().__init__()
        self.stages = nn.ParameterList()
        self.function = BASELINES[baseline] if baseline else emsa
        self.settings = []
        for i in range(backbone.num_built_stages):
            height, width = (-(-size // 2 ** (i + 2)) for size in shape)
            blocks = getattr(backbone, f'stage{i + 1}')
            attn, channels = blocks[0].attn, backbone.out_channels[i]
            s = attn.sr.stride[0] if attn.sr is not None else 1
            mix = attn.transform_conv
            self.settings.append((attn.num_heads, len(blocks), mix is not None, attn.attend.attn_impl))
            self.stages.append(nn.Parameter(torch.randn(batch, height * width, channels)))
            self.stages.append(nn.Parameter(torch.randn(batch, -(-height // s) * -(-width // s), 2 * channels)))
            heads = attn.num_heads
            self.stages.append(nn.Parameter(mix.weight.detach()[..., 0, 0] if mix else torch.zeros(heads, heads)))
            self.stages.append(nn.Parameter(torch.zeros(heads)))

    def forward(self) -> list[Tensor]:
        """Return the outputs of all blocks, each (B, k, n, d); in inference the last one only, as in a backbone."""
        outs = []
        for i, (heads, depth, mixing, impl) in enumerate(self.settings):
            q, kv, weight, bias = (self.stages[4 * i + j] for j in range(4))
            q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, *kv.chunk(2, dim=-1)))
            kwargs = dict(impl=impl) if self.function is emsa else {}
            for _ in range(depth):
                out = self.function(q, k, v, weight, bias, **kwargs) if mixing else self.function(q, k, v, **kwargs)
                outs = [*outs, out] if self.training else [out]
        return outs


def _load_config(path: str):
    from ..engine import load_config

    cfg = load_config(path)
    if cfg.get('default_scope') != 'mmdet' or 'model' not in cfg:
        raise UsageError(
            f'{path}: only models of configs of mmdet are measured, with default_scope mmdet; backbones '
            'of others can be measured by name.'
        )
    return cfg


def _config_model(path: str) -> nn.Module:
    modules = import_registry(path)
    cfg = _load_config(path).model
    cfg.backbone.pop('init_cfg', None)
    return modules.build(cfg)


def _detector_step(
    model: nn.Module,
    shape: tuple[int, int],
    batch: int,
    dtype: str,
    device: str,
    compiled: bool,
    libraries: Callable[[], ContextManager],
) -> Callable[[bool], None]:
    from mmdet.testing import demo_mm_inputs

    model = model.to(device)
    model.backbone = torch.compile(model.backbone) if compiled else model.backbone
    # The largest number, as the head of an RPN has one class.
    classes = max((part.num_classes for part in model.modules() if hasattr(part, 'num_classes')), default=80)
    data = demo_mm_inputs(
        batch,
        image_shapes=[(3, *shape)] * batch,
        num_items=[8] * batch,
        num_classes=classes,
        with_mask=getattr(model, 'with_mask', False),
    )
    autocast = torch.autocast(torch.device(device).type, DTYPES[dtype], enabled=dtype != 'float32')

    def step(train: bool) -> None:
        model.train(train)
        inputs = model.data_preprocessor(data, train)
        with torch.set_grad_enabled(train), libraries():
            with autocast:
                outs = model(**inputs, mode='loss' if train else 'predict')
            if train:
                model.zero_grad(set_to_none=True)
                model.parse_losses(outs)[0].backward()

    return step
