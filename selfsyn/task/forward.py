"""A task model's forward in training: in which precision, and over how many processes' images its statistics go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from selfsyn import processes
from selfsyn.task.scores import Scores

Changes = dict[Callable[..., Any], Callable[..., Tensor]]


class Forward:
    """net(images) as a training calls it: the scores come in the images' precision whatever the net computes in."""

    def __init__(self, net: Callable[[Tensor], Scores], *, device: torch.device, half: bool) -> None:
        """half: in bfloat16 where that loses nothing that matters (autocast)."""
        self.net, self.device, self.half = net, device, half

    def __call__(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> see TaskNet.forward."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half), _Changed(self._changes()):
            return self.net(image_BCHW)

    def _changes(self) -> Changes:
        convolutions: Changes = {F.conv2d: _depthwise_in_float} if self.half and self.device.type == "cpu" else {}
        return convolutions | _of_all_processes()


def one_batch() -> TorchFunctionMode:
    """Within it, nets normalise and drop as one process with all processes' images would, each process its own rows of those.

    Row j of a process is row j * count + rank of all, as mixture.Mixture.part gives them out.
    """
    return _Changed(_of_all_processes())


def _of_all_processes() -> Changes:
    return {F.batch_norm: _batch_norm, F.dropout: _dropout, F.dropout2d: _dropout2d} if processes.count() > 1 else {}


class _Changed(TorchFunctionMode):
    """Calls other functions in the place of some: nets, ours and timm's, stay as they are, names of weights included."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self.changes = changes

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.changes.get(function, function)(*args, **(kwargs or {}))


def _depthwise_in_float(image_BCHW: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    # A CPU's matrix units are for dense convolutions: depthwise ones are slower in bfloat16 than in float32.
    if kwargs.get("groups", args[4] if len(args) > 4 else 1) == 1:
        return F.conv2d(image_BCHW, weight, *args, **kwargs)
    with torch.autocast("cpu", enabled=False):
        return F.conv2d(image_BCHW.float(), weight, *args, **kwargs)


def _dropout(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return values * _kept(values, p) if training else values


def _dropout2d(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return values * _kept(values[:, :, :1, :1], p) if training else values


def _kept(values: Tensor, p: float) -> Tensor:
    """By how much dropout multiplies each value: this process's rows of one draw for all of them."""
    rows = values.shape[0] * processes.count()
    whole = torch.empty_like(values[:1].expand(rows, *values.shape[1:]), memory_format=_layout(values)).bernoulli_(1 - p)
    return whole[processes.rank() :: processes.count()] / (1 - p)


def _layout(values: Tensor) -> torch.memory_format:
    spatial = values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if spatial else torch.contiguous_format


def _batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(values, running_mean, running_var, weight, bias, training, momentum, eps)
    return _SharedBatchNorm.apply(values, weight, bias, running_mean, running_var, momentum, eps)


class _SharedBatchNorm(torch.autograd.Function):
    """Batch normalisation by mean and variance of all processes' images (Ioffe & Szegedy 2015, algorithm 1).

    torch.nn.SyncBatchNorm computes the same, on GPUs only. Every process has as many pixels as any other.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """(B, C, ...) -> the same shape; updates the running statistics in place."""
        axes = [axis for axis in range(values.dim()) if axis != 1]
        var_C, mean_C = torch.var_mean(values.to(weight.dtype), axes, correction=0)
        # Of several means: the mean square less the square of the mean, which float64 can subtract.
        means = processes.mean(torch.stack([mean_C.double(), var_C.double() + mean_C.double().square()]))
        pixels = values.numel() // values.shape[1]
        whole = pixels * processes.count()
        mean_C, var_C = means[0].to(weight.dtype), (means[1] - means[0].square()).clamp(min=0).to(weight.dtype)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean_C, momentum)
            running_var.lerp_(var_C * (whole / max(1, whole - 1)), momentum)
        ctx.save_for_backward(values, weight, mean_C, var_C)
        ctx.eps, ctx.pixels = eps, pixels
        return F.batch_norm(values, mean_C, var_C, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient with fixed statistics, less what the statistics themselves pass on."""
        (gradient,) = gradients
        values, weight, mean_C, var_C = ctx.saved_tensors
        fixed, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean_C, var_C, None, None, False, ctx.eps, [True, True, True]
        )
        slope_C, level_C = processes.mean(torch.stack([of_weight, of_bias])) / ctx.pixels
        inverse_C = (var_C + ctx.eps).rsqrt()
        slope_C = slope_C * weight * inverse_C.square()
        level_C = level_C * weight * inverse_C - slope_C * mean_C
        shape = (1, -1, *[1] * (values.dim() - 2))
        passed = torch.addcmul(level_C.view(shape), values.to(weight.dtype), slope_C.view(shape))
        return (fixed - passed).to(values.dtype), of_weight, of_bias, None, None, None, None
