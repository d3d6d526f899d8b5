"""Speed of labelling, compared with the limits of the machine and with a naive loop.

    python benchmarks/pipeline.py [IMAGES [WEIGHTS.safetensors [WIDTHxHEIGHT]]]

Labels IMAGES (1,000) PNG files of 1024x512, then of 480x360, or only of WIDTHxHEIGHT: rendered frames, enlarged, with sensor
noise. The net is the demo's DeepLabV3+ on EfficientNet-Lite0, with the demo's WEIGHTS or with the packaged ImageNet weights.
The variants alternate; the best round of each counts:

raw        only session.run, one image after another, one session on all cores, images in memory
core-time  CPU seconds of one core per image: decode, infer, encode
ours       label_frames as in `selfsyn pseudo-label`: reads files; writes two PNG files, index row and histogram per image
naive      reads with Pillow, torch eager on all cores, softmax and arg-max in numpy, writes with Pillow; a quarter of the images

bound = min(raw, cores / core-time), efficiency = ours / bound. Other programs on the machine disturb these figures. So the
CPU milliseconds per image are printed as well: ours / core-time shows the cost of the pipeline itself, and naive / ours the
saving on a machine with no idle core.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export import contract
from export.pipeline import Codecs, label_frames, lanes, write_index
from export.teacher import Teacher
from export.to_onnx import Segmenter, to_onnx
from selfsyn.config import Task
from selfsyn.cores import usable_cores
from selfsyn.data.frames import Frame
from selfsyn.images import encode_label_png, encode_png, read_image, resize_image
from selfsyn.labels import CLASSES
from selfsyn.task import build, load_weights
from selfsyn.world import render

TASK = Task("deeplabv3plus", "efficientnet_lite0", weights="package", decoder_channels=96, mean=(0.5,) * 3, std=(0.5,) * 3)
SIZES = ((1024, 512), (480, 360))
ROUNDS, DIFFERENT, SAMPLE = 5, 16, 6
CORES = usable_cores()


@dataclass
class Best:
    """The best of all rounds: images per second, and CPU seconds per image."""

    raw: float = 0.0
    ours: float = 0.0
    naive: float = 0.0
    ours_core: float = np.inf
    naive_core: float = np.inf
    decode: float = np.inf
    infer: float = np.inf
    encode: float = np.inf

    @property
    def core_time(self) -> float:
        """CPU seconds per image for decode, infer and encode."""
        return self.decode + self.infer + self.encode

    @property
    def bound(self) -> float:
        """Images per second that no pipeline can exceed."""
        return min(self.raw, CORES / self.core_time)

    def add(self, variant: str, images: int, work: Callable[[], object]) -> None:
        """Run a variant's work on `images` images and keep its figures if they are better."""
        began, spent = time.perf_counter(), time.process_time()
        work()
        setattr(self, variant, max(getattr(self, variant), images / (time.perf_counter() - began)))
        if variant != "raw":
            core = (time.process_time() - spent) / images
            setattr(self, f"{variant}_core", min(getattr(self, f"{variant}_core"), core))


def main(images: int, weights: Path | None, sizes: Sequence[tuple[int, int]]) -> None:
    """Print a line for each size."""
    torch.set_num_threads(CORES)
    net = build(TASK, pretrained=weights is None)
    if weights is not None:
        load_weights(net, weights)
    segmenter = Segmenter(net.eval(), task=TASK)
    metadata = contract.Metadata(CLASSES, TASK.mean, TASK.std, (256, 128), "sha256:0", "benchmark", "0")
    model = to_onnx(segmenter, metadata=metadata)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            paths = make(Path(folder), size=size)
            best = measured(model, segmenter, Path(folder), paths, size=size, each=max(SAMPLE, images // ROUNDS))
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(
            f"{size[0]}x{size[1]}, {max(SAMPLE, images // ROUNDS) * ROUNDS} images, {CORES} cores, load {load}:"
            f" raw {best.raw:.2f}/s;"
            f" core-ms decode {1e3 * best.decode:.1f} + infer {1e3 * best.infer:.1f} + encode {1e3 * best.encode:.1f};"
            f" bound {best.bound:.2f}/s, ours {best.ours:.2f}/s, efficiency {best.ours / best.bound:.2f};"
            f" naive {best.naive:.2f}/s, ratio {best.ours / best.naive:.1f};"
            f" CPU ms per image: ours {1e3 * best.ours_core:.1f}, {best.core_time / best.ours_core:.2f} of it in the stages;"
            f" naive {1e3 * best.naive_core:.1f}, ratio {best.naive_core / best.ours_core:.1f}",
            flush=True,
        )


def make(folder: Path, *, size: tuple[int, int]) -> list[Path]:
    """Write the PNG files -> their paths."""
    paths = []
    for index in range(DIFFERENT):
        image = cv2.resize(render("camera", seed=0, index=index, size=(256, 128))[0], size, interpolation=cv2.INTER_CUBIC)
        noisy = image + np.random.default_rng(index).normal(0, 2, image.shape)
        paths.append(folder / f"{index}.png")
        paths[-1].write_bytes(encode_png(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)))
    return paths


def measured(model: bytes, segmenter: Segmenter, folder: Path, paths: list[Path], *, size: tuple[int, int], each: int) -> Best:
    """Run every variant in each round -> the best figures."""
    best = Best()
    workers = lanes(workers=None)
    all_cores, ours = (Teacher(model, device="cpu", threads=threads) for threads in (CORES, max(1, CORES // workers)))
    one_core = Teacher(model, device="cpu", threads=1)
    pictures = [read_image(path) for path in paths]
    all_cores.size = ours.size = one_core.size = size
    for round_ in range(ROUNDS):
        best.add("raw", each, lambda: [all_cores.predict(picture[None]) for picture in islice(cycle(pictures), each)])
        for stage, seconds in core_seconds(one_core, paths).items():
            setattr(best, stage, min(getattr(best, stage), seconds))
        shard = folder / f"shard-{round_}"
        few = max(1, each // 4)
        best.add("ours", each, partial(label, ours, paths, shard, count=each))
        best.add("naive", few, partial(naive, segmenter, paths, shard / "naive", count=few))
    return best


def core_seconds(teacher: Teacher, paths: list[Path]) -> dict[str, float]:
    """CPU seconds of this thread per image for each stage; PNG files are encoded in memory."""
    spent = {"decode": 0.0, "infer": 0.0, "encode": 0.0}
    for path in paths[:SAMPLE]:
        image, spent["decode"] = _timed(lambda: resize_image(read_image(path), size=teacher.size), spent["decode"])  # noqa: B023
        (labels, confidences), spent["infer"] = _timed(lambda: teacher.predict(image[None]), spent["infer"])  # noqa: B023
        _, spent["encode"] = _timed(lambda: (encode_label_png(labels[0]), encode_png(confidences[0])), spent["encode"])  # noqa: B023
    return {stage: seconds / SAMPLE for stage, seconds in spent.items()}


def _timed(work: Callable[[], object], before: float) -> tuple[object, float]:
    began = time.thread_time()
    result = work()
    return result, before + time.thread_time() - began


def label(teacher: Teacher, paths: list[Path], folder: Path, *, count: int) -> None:
    """Label `count` images as `selfsyn pseudo-label` does."""
    frames = [Frame(f"{index:06d}", paths[index % len(paths)]) for index in range(count)]
    with Codecs() as codecs:
        labelled = label_frames(frames, teacher=teacher, folder=folder, roots=[paths[0].parent], codecs=codecs)
        write_index(folder, labelled=labelled, spoiled=0)


def naive(segmenter: Segmenter, paths: list[Path], folder: Path, *, count: int) -> None:
    """Label `count` images with the simplest loop."""
    folder.mkdir(parents=True)
    device = next(segmenter.net.parameters()).device
    for index in range(count):
        image = np.asarray(Image.open(paths[index % len(paths)]).convert("RGB"))
        values = (image.astype(np.float32) / 255 - np.array(TASK.mean, np.float32)) / np.array(TASK.std, np.float32)
        with torch.no_grad():
            main_BKHW, auxiliary_BKHW = segmenter.net(torch.from_numpy(values.transpose(2, 0, 1)[None].copy()).to(device))
        scores: NDArray[np.float32] = (main_BKHW + TASK.auxiliary_at_inference * auxiliary_BKHW)[0].cpu().numpy()
        shares = np.exp(scores - scores.max(axis=0))
        shares /= shares.sum(axis=0)
        Image.fromarray(shares.argmax(axis=0).astype(np.uint8)).save(folder / f"{index}-label.png")
        Image.fromarray((shares.max(axis=0) * 255).round().astype(np.uint8)).save(folder / f"{index}-confidence.png")


if __name__ == "__main__":
    wide, high = map(int, sys.argv[3].split("x")) if len(sys.argv) > 3 else (0, 0)
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
        Path(sys.argv[2]) if len(sys.argv) > 2 else None,
        [(wide, high)] if wide else SIZES,
    )
