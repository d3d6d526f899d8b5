"""Part 2: images per second and GPU memory of a training step, compared with a reference loop in the same run.

    python benchmarks/gpu/throughput.py FOLDER [--rehearse] [--prepare]

nets      DeepLabV3+ on ResNet-50 and on EfficientNet-Lite0, FCN ResNet-50, SegNet VGG-16 at 1024x512, batch 8. Our step
          (benchmarks/training.py) is deterministic, as in `selfsyn train`. It is compared with torchvision's reference loop,
          which sets cudnn.benchmark. fp32 uses TF32 in convolutions, torch's default. bf16 is autocast.
adapter   Batch and crop of the recipe gta5-cityscapes, compared with a plain CycleGAN of the same nets (benchmarks/adapter.py).
loader    Batches of 1024x512 from PNG files of GTA5's size, on all cores, compared with our fastest step.

Times are medians of the steps after a warm-up; memory is torch's peak. The figures need a GPU without other programs.
"""

from __future__ import annotations

import copy
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from given import BENCHMARKS, Given, arguments, made_whole
from record import Record

sys.path.insert(0, str(BENCHMARKS))

import loader
from adapter import batch_of, plain_step, state_of
from training import examples, ours, timed, torchvisions

from selfsyn import config as configuration
from selfsyn import devices, recipes
from selfsyn.adapter.step import fit_step
from selfsyn.data.frames import labelled
from selfsyn.task import build

SCRATCH = "task.weights=scratch"
OF_VIT = ("task.architecture=vit", "task.backbone=vit_small_patch14_dinov2", SCRATCH)
NETS = {
    "DeepLabV3+ ResNet-50": ("task.backbone=resnet50", "task.output_stride=16", "task.decoder_channels=256", SCRATCH),
    "DeepLabV3+ EfficientNet-Lite0": (SCRATCH,),
    "FCN ResNet-50": ("task.architecture=fcn", "task.backbone=resnet50", SCRATCH),
    "SegNet VGG-16": ("task.architecture=segnet", "task.backbone=vgg16_bn", SCRATCH),
    "ViT-S/14": OF_VIT,
    "ViT-S/14, activation checkpointing": (*OF_VIT, "train.activation_checkpointing=true"),
    "ViT-S/14, last 4 blocks": (*OF_VIT, "task.trainable_blocks=4"),
    "ViT-S/14, frozen": (*OF_VIT, "task.trainable_blocks=0"),
}
BATCH = 8
STEPS, WARM_UP = 8, 3
GTA5 = (1914, 1052)


def main(given: Given) -> None:
    """Record a row for each net and precision, the adapter and the loader; keep the rows of an earlier run."""
    if given.prepare:
        return
    record = Record(given.folder, "throughput", key=("what", "precision"))
    adapter(given, record)
    for name, settings in NETS.items():
        # A CPU without matrix units takes minutes for a large net in bfloat16.
        for precision in ("fp32",) if given.rehearse and "Lite0" not in name else ("fp32", "bf16"):
            net(given, record, name=name, settings=settings, precision=precision)
    files(given, record, best=max(row["ours_per_s"] for row in record.rows if row["reference"] == "torchvision"))


def net(given: Given, record: Record, *, name: str, settings: tuple[str, ...], precision: str) -> None:
    """Measure both loops with a net, one after the other."""
    config = configuration.from_mapping(
        configuration.with_settings(recipes.read("demo"), (*settings, f"train.precision={precision}"))
    )
    size = (32, 32) if given.rehearse else (1024, 512)
    batch = 2 if given.rehearse else BATCH
    what = f"{name} {size[0]}x{size[1]}, batch {batch}"
    if record.has(what=what, precision=precision):
        return
    device, data = torch.device(given.device), examples(batch, size)
    torch.manual_seed(0)
    fresh = build(config.task, pretrained=False)
    theirs = _measured(
        given, lambda: _autocast(torchvisions(copy.deepcopy(fresh), data, config, device=device), precision, device)
    )
    mine = _measured(
        given, lambda: ours(copy.deepcopy(fresh), data, config, precision=precision, device=device), deterministic=True
    )
    rates = [len(data.names) / seconds for seconds, _ in (mine, theirs)]
    record.add(
        what=what,
        precision=precision,
        ours_per_s=rates[0],
        reference="torchvision",
        reference_per_s=rates[1],
        ratio=rates[0] / rates[1],
        ours_gib=mine[1],
        reference_gib=theirs[1],
    )


def adapter(given: Given, record: Record) -> None:
    """Measure a plain CycleGAN; our step as in `fit-adapter`, with generator features in bfloat16; our step all in autocast."""
    roots = tuple(f"{source}.root=unused" for source in ("synthetic", "real", "held_out"))
    recipe, settings = ("demo", ("adapter.crop=32",)) if given.rehearse else ("gta5-cityscapes", roots)
    config = configuration.from_mapping(configuration.with_settings(recipes.read(recipe), settings))
    what, kinds = f"adapter, crop {config.adapter.crop}, batch {config.adapter.batch}", ("as it runs", "bf16 everywhere")
    if all(record.has(what=what, precision=kind) for kind in kinds):
        return
    device = torch.device(given.device)
    data = batch_of(config).to(device)

    def plain() -> Callable[[], object]:
        state = state_of(config, device)
        return lambda: plain_step(state, data, config)

    def mine(*, everywhere: bool) -> Callable[[], object]:
        state = state_of(config, device)
        return _autocast(lambda: fit_step(state, data, config), "bf16" if everywhere else "fp32", device)

    theirs = _measured(given, plain)
    for kind in kinds:
        found = _measured(given, partial(mine, everywhere=kind == kinds[1]), deterministic=True)
        images = 2 * config.adapter.batch
        record.add(
            what=what,
            precision=kind,
            ours_per_s=images / found[0],
            reference="plain CycleGAN",
            reference_per_s=images / theirs[0],
            ratio=theirs[0] / found[0],
            ours_gib=found[1],
            reference_gib=theirs[1],
        )


def files(given: Given, record: Record, *, best: float) -> None:
    """Measure the loader."""
    size = (128, 64) if given.rehearse else (1024, 512)
    folder = given.folder / "throughput-frames"
    if not folder.exists():
        with made_whole(folder) as part:
            loader.make(part, frames=8 if given.rehearse else 32, size=(160, 90) if given.rehearse else GTA5)
    frames = labelled(folder, layout="gta5")
    rate = loader.rate(loader.ours(frames, size))
    record.add(
        what=f"loader, {GTA5[0]}x{GTA5[1]} PNG to {size[0]}x{size[1]}, {devices.worker_count(None)} workers",
        precision="uint8",
        ours_per_s=rate,
        reference="our fastest step above",
        reference_per_s=best,
        ratio=rate / best,
    )


def _autocast(step: Callable[[], object], precision: str, device: torch.device) -> Callable[[], None]:
    def wrapped() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            step()

    return wrapped


def _measured(
    given: Given, made: Callable[[], Callable[[], object]], *, deterministic: bool = False
) -> tuple[float, float | None]:
    """-> (median seconds per step, peak GiB of GPU memory) of the step that `made` returns."""
    device = torch.device(given.device)
    with _as_run(deterministic=deterministic):
        step = made()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = [timed(step, device) for _ in range(2 if given.rehearse else WARM_UP + STEPS)]
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    del step
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return statistics.median(seconds[1 if given.rehearse else WARM_UP :]), peak


@contextmanager
def _as_run(*, deterministic: bool) -> Iterator[None]:
    """Let cuDNN use deterministic kernels, or search for the fastest kernels."""
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    yield


if __name__ == "__main__":
    given_ = arguments(__doc__)
    began = time.monotonic()
    devices.set_deterministic()  # before the first use of cuBLAS, which reads its workspace size only once
    main(given_)
    print(f"throughput: {time.monotonic() - began:.0f} s")
