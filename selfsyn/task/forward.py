"""A task model's forward in training: which images share batch statistics, and the precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from selfsyn.task.scores import Scores


class Forward(nn.Module):
    """All passes of a training step through the net. The scores have the precision of the images, also under autocast.

    A step calls this module once, with any number of passes: DistributedDataParallel expects one forward per backward.
    """

    def __init__(self, net: Callable[[Tensor], Scores], *, device: torch.device, half: bool) -> None:
        """half: compute in bfloat16 where autocast allows it."""
        super().__init__()
        self.net, self.device, self.autocasts = net, device, half

    def forward(self, image_BCHW: Tensor, passes: Sequence[int]) -> Scores:
        """(B, 3, H, W) normalised -> see TaskNet.forward.

        passes: the number of images in each pass; they add up to B. Images of a pass share their batch statistics.
        """
        scores = [self._scores(images) for images in image_BCHW.split(list(passes))]
        if len(scores) == 1:
            return scores[0]
        others = [other for _, other in scores if other is not None]
        return Scores(torch.cat([main for main, _ in scores]), torch.cat(others) if others else None)

    def _scores(self, image_BCHW: Tensor) -> Scores:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocasts), self._depthwise():
            return self.net(image_BCHW)

    def _depthwise(self) -> AbstractContextManager[Any]:
        return _DepthwiseInFloat() if self.autocasts and self.device.type == "cpu" else nullcontext()


class _DepthwiseInFloat(TorchFunctionMode):
    """Depthwise convolutions in float32: on a CPU they are slower in bfloat16, which speeds up dense ones only."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is not F.conv2d or kwargs.get("groups", args[6] if len(args) > 6 else 1) == 1:
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(args[0].float(), *args[1:], **kwargs)
