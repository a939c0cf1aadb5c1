"""Sigmoid and softmax focal losses (Lin et al., 2017).

Arguments are those of ``mmcv._ext``: ``target`` (n,) contains class indices, ``weight`` (classes,) a factor per class
or nothing. Computed in at least float32. Unlike mmcv, which computes the logarithm of a probability, log-sigmoid is
accurate for logits beyond about 17.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import as_compiled


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _is_class(target: Tensor, num_classes: int) -> Tensor:
    return target[:, None] == torch.arange(num_classes, device=target.device)


def _weighted(loss: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Multiply each sample by the weight of its class; targets outside of the classes (background) have weight 1."""
    if not weight.numel():
        return loss
    inside = (target >= 0) & (target < len(weight))
    factor = torch.where(inside, weight.to(loss.dtype)[target.clamp(0, len(weight) - 1)], 1)
    return loss * factor.reshape(-1, *[1] * (loss.dim() - 1))


@as_compiled
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each logit of ``input`` (n, classes) to ``output``."""
    x = _at_least_float32(input)
    hit = -alpha * (-x).sigmoid() ** gamma * F.logsigmoid(x)
    miss = -(1 - alpha) * x.sigmoid() ** gamma * F.logsigmoid(-x)
    output.copy_(_weighted(torch.where(_is_class(target, x.shape[1]), hit, miss), weight, target))


@as_compiled
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of the logits (n, classes) to ``grad_input``."""
    x = _at_least_float32(input)
    p, q = x.sigmoid(), (-x).sigmoid()
    hit = -alpha * q**gamma * (q - gamma * p * F.logsigmoid(x))
    miss = -(1 - alpha) * p**gamma * (gamma * q * F.logsigmoid(-x) - p)
    grad_input.copy_(_weighted(torch.where(_is_class(target, x.shape[1]), hit, miss), weight, target))


def _of_target(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    p = _at_least_float32(softmax).gather(1, target.clamp(min=0)[:, None]).squeeze(1)
    return p, p.clamp(min=torch.finfo(torch.float32).tiny).log()


@as_compiled
def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each sample to ``output`` (n,), from probabilities (n, classes); zero for negative targets."""
    p, log_p = _of_target(softmax, target)
    output.copy_(_weighted(-alpha * (1 - p) ** gamma * log_p * (target >= 0), weight, target))


@as_compiled
def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of the logits of the softmax to ``grad_input`` (n, classes)."""
    p, log_p = _of_target(softmax, target)
    slope = alpha * (-((1 - p) ** gamma) + gamma * (1 - p) ** (gamma - 1) * p * log_p)
    buff.copy_(_weighted(slope * (target >= 0), weight, target))
    grad_input.copy_(buff[:, None] * (_is_class(target, softmax.shape[1]).float() - softmax))
