"""Replacement of mmcv's compiled extension ``mmcv._ext``, with functions of the same names.

Operators that are not implemented raise :class:`UnsupportedOpError` when they are called, so that mmcv can be imported.
"""

from __future__ import annotations

from typing import Any, Callable

from .boxes import bbox_overlaps, nms, nms_match, softnms
from .common import UnsupportedOpError
from .deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
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

# Distinguishes this module from the compiled extension.
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
    """Return the compiler name shown in mmengine's environment report."""
    return 'none (operators by mmrest)'


def get_compiling_cuda_version() -> str:
    """Return the value of a CPU build of mmcv. The operators run on GPUs nevertheless."""
    return 'not available'


def __getattr__(name: str) -> Callable:
    """Return a function that raises :class:`UnsupportedOpError`, for an operator that is not implemented."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise UnsupportedOpError(
            f"{name} exists only in mmcv's compiled extension, and this environment has none that supports the device "
            'of this tensor. Compile mmcv, or use a model without this operator; see docs/installation.md of mmrest.'
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse
