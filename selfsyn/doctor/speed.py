"""The speed of a run's nets on this machine, measured with torch and weights of zero. The only file here that needs torch."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from selfsyn.config import RunConfig, flat
from selfsyn.errors import InputError
from selfsyn.files import digest_lines
from selfsyn.packages import installed

if TYPE_CHECKING:
    import torch
    from torch import nn

SIDE = 128  # pixels of the timed image on a CPU, where time grows with area and a whole picture can take ten seconds

Net = TypeVar("Net", bound="nn.Module")


@dataclass(frozen=True)
class Speed:
    """Torch's version and device, and the speed of the nets.

    device: what 'auto' means here.  adapt_seconds: of the generator on an image at working size; on a CPU, with one core.
    label_seconds: of the task net on label_device, likewise.
    task_parameters, adapter_parameters: number of them in a task net; in a generator and a discriminator.
    """

    version: str
    device: str
    adapt_seconds: float
    label_seconds: float
    label_device: str
    task_parameters: int
    adapter_parameters: int


def measured(config: RunConfig, *, labels_on: str) -> Speed:
    """Run each net twice and time the second run. labels_on: onnxruntime's device, 'cpu' or 'cuda'.

    ImportError without torch, InputError for a net that cannot be built, RuntimeError without enough memory.
    """
    # Importing timm imports torchvision, torch's compiler and, if installed, Triton: 70 MB that are not needed here.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import torch

    from selfsyn import devices

    device, label_device = devices.resolve("auto"), devices.resolve("auto" if labels_on == "cuda" else "cpu")
    torch.set_num_threads(1)  # on busy cores, two threads took fifty times as long
    with torch.no_grad():
        adapt, adapter_parameters = _adapter(config, device)
        label, task_parameters = _task(config, label_device)
    version = str(torch.__version__)  # unpickling torch's own class would import torch in the other process
    name = devices.describe(device)
    return Speed(version, name, adapt, label, label_device.type, task_parameters, adapter_parameters)


def _adapter(config: RunConfig, device: torch.device) -> tuple[float, int]:
    """Seconds of the generator for an image, and the parameters of generator and discriminator."""
    import numpy as np

    from selfsyn.adapter.discriminator import build_discriminator
    from selfsyn.adapter.generator import build_generator
    from selfsyn.adapter.tiles import translate

    generator = weightless(lambda: build_generator(config.adapter, device=device), device=device).eval()
    critic = weightless(lambda: build_discriminator(config.adapter), device=device)
    seconds = _seconds(lambda size: translate(generator, np.zeros((*size, 3), np.uint8), seed=0, name=""), config, on=device.type)
    return seconds, _parameters(generator) + _parameters(critic)


def _task(config: RunConfig, device: torch.device) -> tuple[float, int]:
    """Seconds of the task net for an image, and its parameters."""
    import torch

    from selfsyn.task import build

    task, classes = replace(config.task, weights="scratch"), len(config.class_list)
    net = weightless(lambda: build(task, pretrained=False, classes=classes), device=device).eval()
    seconds = _seconds(lambda size: net(torch.zeros(1, 3, *size, device=device)).main.cpu(), config, on=device.type)
    return seconds, _parameters(net)


def weightless(build: Callable[[], Net], *, device: torch.device) -> Net:
    """The net that `build` makes, with zeros that all its tensors share: as fast as real weights, in the memory of one layer.

    A net whose construction needs real numbers gets its own weights.
    """
    import torch

    try:
        with torch.device("meta"):
            net = build()
    except (InputError, RuntimeError):  # construction needs real numbers, or fails for another reason, which is raised again here
        return build().to(device)
    largest: dict[torch.dtype, int] = {}
    for tensor in (*net.parameters(), *net.buffers()):
        largest[tensor.dtype] = max(largest.get(tensor.dtype, 0), tensor.numel())
    zeros = {dtype: torch.zeros(numbers, dtype=dtype, device=device) for dtype, numbers in largest.items()}
    return net._apply(lambda tensor: zeros[tensor.dtype][: tensor.numel()].view(tensor.shape))  # type: ignore[no-untyped-call]


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _seconds(work: Callable[[tuple[int, int]], object], config: RunConfig, *, on: str) -> float:
    """Seconds of `work` at working size; it takes a size (height, width)."""
    whole = config.size[::-1]
    size = whole if on == "cuda" else (min(SIDE, whole[0]), min(SIDE, whole[1]))
    work(size)
    began = time.perf_counter()
    work(size)
    return (time.perf_counter() - began) * (whole[0] * whole[1]) / (size[0] * size[1])


def depends_on(config: RunConfig, *, labels_on: str) -> str:
    """A digest of what the speed depends on: nets, working size, torch, and devices."""
    leaves = [
        f"{name} {value}" for name, value in flat(config).items() if name.split(".")[0] in ("size", "classes", "adapter", "task")
    ]
    devices = [*sorted(path.name for path in Path("/dev").glob("nvidia*")), os.environ.get("CUDA_VISIBLE_DEVICES", "all")]
    return digest_lines([*leaves, str(installed(("torch",))), *devices, labels_on, platform.node(), platform.processor()])
