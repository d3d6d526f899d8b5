"""Training examples per second, compared with the same augmentation in torchvision.

    python benchmarks/loader.py [FRAMES [WIDTHxHEIGHT [ROUNDS]]]

Input: FRAMES (24) rendered frames, enlarged to WIDTHxHEIGHT (2048x1024) with sensor noise, as PNG images and palette PNG
labels. Output: normalised batches of 8 at half that size. Ours: selfsyn.task.examples. Torchvision: its documented transforms
in a DataLoader that reads with Pillow. Both use a worker for each core and alternate for ROUNDS (3); the best round counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from selfsyn.config import Augment
from selfsyn.data.frames import LabelledFrame, labelled
from selfsyn.data.mixing import Mix
from selfsyn.images import encode_palette_png, encode_png
from selfsyn.labels import LABEL_ID_OF_TRAIN_ID, PALETTE
from selfsyn.task.examples import LabelledExample
from selfsyn.task.makers import ExampleSource, Labelled
from selfsyn.task.mixture import SYNTHETIC, Mixture, batches
from selfsyn.task.scores import normalised
from selfsyn.world import render

BATCH = 8
CORES = os.cpu_count() or 1
WARM_UP = CORES + 1  # batches
BATCHES = WARM_UP + 4 * max(CORES, 2)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUGMENT = Augment()
RENDERED = (512, 256)


def main(frames: int, size: tuple[int, int], rounds: int) -> None:
    """Make the files, time both loaders in turn, print images/s and the ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), frames=frames, size=size)
        found = labelled(Path(folder), layout="gta5")
        half = (size[0] // 2, size[1] // 2)
        loaders: dict[str, Callable[[], Iterable[torch.Tensor]]] = {
            "ours": lambda: ours(found, half),
            "torchvision": lambda: torchvisions(found, half),
        }
        best = dict.fromkeys(loaders, 0.0)
        for _ in range(rounds):
            for name, loader in loaders.items():
                best[name] = max(best[name], rate(loader()))
        print(
            f"{size[0]}x{size[1]} -> {half[0]}x{half[1]}, {CORES} workers: ours {best['ours']:.1f} images/s,"
            f" torchvision {best['torchvision']:.1f}, ratio {best['ours'] / best['torchvision']:.2f}"
        )


def rate(batches_: Iterable[torch.Tensor]) -> float:
    """Images per second, without the first batch of each worker, in which it starts."""
    began, seen = 0.0, 0
    for number, batch in enumerate(batches_, start=1 - WARM_UP):
        seen += len(batch) if number > 0 else 0
        began = time.perf_counter() if number == 0 else began
    return seen / (time.perf_counter() - began)


def ours(frames: list[LabelledFrame], size: tuple[int, int]) -> Iterable[torch.Tensor]:
    """Batches as `selfsyn train` makes them."""
    examples = [LabelledExample(frame) for frame in frames]
    source = ExampleSource(examples, Mix((len(frames),)), 0, "benchmark synthetic", size, AUGMENT)
    mixture = Mixture({SYNTHETIC: Labelled(source)}, {SYNTHETIC: BATCH}, examples, 0, "benchmark")
    for batch in batches(mixture, first=0, last=BATCHES, workers=CORES):
        yield normalised(batch.whole("image"), mean=MEAN, std=STD)


class Frames(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The same files and augmentation with torchvision's transforms."""

    def __init__(self, frames: list[LabelledFrame], size: tuple[int, int], *, repeats: int) -> None:
        """size: (width, height) in pixels.  repeats: passes over the data set."""
        self.frames, self.repeats = frames, repeats
        jitter = AUGMENT.color_jitter
        self.table = torch.from_numpy(frames[0].dataset.table)
        self.change = v2.Compose(
            [
                v2.ToImage(),
                v2.RandomResizedCrop(size[::-1], scale=(AUGMENT.zoom**-2, 1.0), ratio=(0.9 * 2, 1.1 * 2)),
                v2.RandomHorizontalFlip(0.5),
                v2.ColorJitter(brightness=jitter, contrast=jitter, saturation=jitter),
                v2.RandomApply([v2.GaussianBlur(7, sigma=(0.1, AUGMENT.blur))], p=0.5),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.RandomApply([v2.GaussianNoise(sigma=AUGMENT.noise / 2 / 255)], p=0.5),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return self.repeats * len(self.frames)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        frame = self.frames[index % len(self.frames)]
        image = Image.open(frame.image).convert("RGB")
        label = self.table[torch.from_numpy(np.array(Image.open(frame.label))).int()]
        return self.change(image, tv_tensors.Mask(label))


def torchvisions(frames: list[LabelledFrame], size: tuple[int, int]) -> Iterable[torch.Tensor]:
    """Batches of a DataLoader."""
    data = Frames(frames, size, repeats=-(-BATCHES * BATCH // len(frames)))
    for images, _ in DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=CORES, drop_last=True):
        yield images


def make(root: Path, *, frames: int, size: tuple[int, int]) -> None:
    """Write the frames in GTA5's layout."""
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number in range(1, frames + 1):
        rendered, label = render("camera", seed=0, index=number, size=RENDERED)
        enlarged = cv2.resize(rendered, size, interpolation=cv2.INTER_CUBIC)
        noise = np.random.default_rng(number).normal(0, 2, enlarged.shape)
        image = np.clip(np.rint(enlarged + noise), 0, 255).astype(np.uint8)
        ids = cv2.resize(LABEL_ID_OF_TRAIN_ID[label], size, interpolation=cv2.INTER_NEAREST)
        (root / f"images/{number:05d}.png").write_bytes(encode_png(image))
        (root / f"labels/{number:05d}.png").write_bytes(encode_palette_png(ids, palette=PALETTE))


if __name__ == "__main__":
    wide, high = map(int, (sys.argv[2] if len(sys.argv) > 2 else "2048x1024").split("x"))
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 24,
        (wide, high),
        int(sys.argv[3]) if len(sys.argv) > 3 else 3,
    )
