"""The module that stands in for mmcv's compiled extension, ``mmcv._ext``: its functions under their names.

Those that neither torchvision nor plain PyTorch offers raise :class:`UnsupportedOpError` when they are called, so that
mmcv can be imported.
"""

from __future__ import annotations

from typing import Any, Callable

from .boxes import bbox_overlaps, nms, nms_match, softnms
from .common import UnsupportedOpError
from .deformable import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from .focal import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .maps import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
    masked_col2im_forward,
    masked_im2col_forward,
    psamask_backward,
    psamask_forward,
)
from .regions import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward

# Compiled mmcv has no such name: it tells the two apart.
PROVIDER = 'mmrest'

__all__ = [
    'PROVIDER',
    'bbox_overlaps',
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """Return what mmengine's report of an environment prints for the compiler."""
    return 'none (operators by mmrest)'


def get_compiling_cuda_version() -> str:
    """Return what a build of mmcv for the CPU returns; the operators run on GPUs all the same."""
    return 'not available'


def __getattr__(name: str) -> Callable:
    """Return a function that refuses to be called, for an operator that is not here."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise UnsupportedOpError(
            f"{name} exists only in mmcv's compiled extension, and this environment has none that serves this tensor's "
            'device. Compile mmcv to use it, or choose a part of the model without it; docs/installation.md of mmrest '
            'says how and lists such operators.'
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse
