"""AdaBN: batch-norm statistics re-estimated on another domain, without labels or updates (Li et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsyn.ahead import ahead
from selfsyn.config import RunConfig
from selfsyn.data.frames import Frame
from selfsyn.images import read_image, resize_image
from selfsyn.task.scores import normalised

READ_AHEAD = 4  # batches


def re_estimate(net: nn.Module, batches: Iterable[Tensor], *, share: float) -> None:
    """Move the running statistics of every batch norm towards those of `batches` ((B, 3, H, W) normalised), in place.

    new = (1 - share) * old + share * estimate; the estimate is the mean over batches of each batch's mean or unbiased variance.
    Every layer normalises each batch with that batch's statistics. Parameters, modes and counters do not change.
    """
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    before = [{name: buffer.clone() for name, buffer in layer.named_buffers()} for layer in layers]
    modes = [(module, module.training) for module in net.modules()]
    momenta = [layer.momentum for layer in layers]
    net.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # None makes torch average over batches with equal weight
        layer.train()
    with torch.no_grad():
        for images_BCHW in batches:
            net(images_BCHW)
        for layer, old, momentum in zip(layers, before, momenta, strict=True):
            _mix(layer, old, share=share)
            layer.momentum = momentum
    for module, training in modes:
        module.training = training


def _mix(layer: _BatchNorm, old: dict[str, Tensor], *, share: float) -> None:
    for name, buffer in layer.named_buffers():
        buffer.copy_(old[name].lerp(buffer, share) if buffer.is_floating_point() else old[name])


def real_batches(frames: Sequence[Frame], config: RunConfig, *, device: torch.device, workers: int) -> Iterator[Tensor]:
    """Yield the real images in their order, not augmented, at the working size, normalised: (B, 3, H, W) on `device`.

    An incomplete last batch is dropped, because it would weigh as much as a full batch; if it is the only batch, it is kept.
    """
    batch = config.train.batch
    starts = range(0, max(1, len(frames) // batch) * batch, batch)
    with ThreadPoolExecutor(max(1, workers)) as threads:
        chunks = (frames[start : start + batch] for start in starts)
        for images in ahead(lambda chunk: _read(chunk, size=config.size), chunks, threads=threads, most=READ_AHEAD):
            yield normalised(images.to(device), mean=config.task.mean, std=config.task.std)


def _read(frames: Sequence[Frame], *, size: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.stack([resize_image(read_image(frame.image), size=size) for frame in frames]))
