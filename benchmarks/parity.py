"""Results of the parity check of `export-teacher`: three nets, float32 and float16, images of odd sizes.

    python benchmarks/parity.py [STEPS [FOLDER]]

Each net trains for STEPS (60) updates on rendered frames, so that its scores have the spread of a trained net. DeepLabV3+
starts from EfficientNet-Lite0's ImageNet weights, FCN (ResNet-18) and SegNet (VGG16) from random weights. FOLDER: images
(JPEG or PNG, any sizes) for the comparison; default: rendered camera frames. Onnxruntime runs on the CPU. There, float16
weights and activations are rounded as on a GPU, but convolutions sum in float32.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from export import contract, parity
from export.graph import halved
from export.teacher import Teacher
from export.to_onnx import Segmenter, to_onnx
from selfsyn.config import Task
from selfsyn.images import read_image, resize_image
from selfsyn.labels import CLASSES, IGNORE
from selfsyn.task import Scores, TaskNet, build, normalised
from selfsyn.world import render

HALF, WHOLE = (0.5, 0.5, 0.5), (160, 112)
TASKS = {
    "DeepLabV3+": Task("deeplabv3plus", "efficientnet_lite0", weights="package", decoder_channels=96, mean=HALF, std=HALF),
    "FCN": Task("fcn", "resnet18", weights="scratch", mean=HALF, std=HALF),
    "SegNet": Task("segnet", "vgg16_bn", weights="scratch", mean=HALF, std=HALF),
}
ODD = ((161, 113), (243, 177), (321, 95))
FRAMES, BATCH = 24, 4
Frames = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def main(steps: int, folder: Path | None) -> None:
    """Train, export and compare each net; print a Markdown table."""
    torch.manual_seed(0)
    frames = [render("engine", seed=0, index=index, size=WHOLE) for index in range(FRAMES)]
    pictures = [np.ascontiguousarray(picture[None]) for picture in examples(folder)]
    keys = ("mismatches", "mismatch_share", "unexplained", "beyond_share", "largest_score_difference", "largest_score",
            "largest_margin", "largest_confidence_difference")  # fmt: skip
    print("| net | precision | size | classes | " + " | ".join(key.replace("_", " ") for key in keys) + " | gate |")
    print("|---" * (len(keys) + 5) + "|")
    for name, task in TASKS.items():
        segmenter = Segmenter(trained(task, frames, steps=steps).eval(), task=task)
        metadata = contract.Metadata(CLASSES, task.mean, task.std, WHOLE, "sha256:0", "benchmark", "0")
        model, net = to_onnx(segmenter, metadata=metadata), parity.answers(segmenter, pictures)
        for precision, data in ((contract.FP32, model), (contract.FP16, halved(model))):
            teacher = Teacher(data, device="cpu")
            teacher.check()
            limits = parity.limits_of(segmenter, precision=precision)
            result = parity.compare(net, teacher, scores=parity.scorer(data), limits=limits)
            for case in result["cases"]:
                size = f"{case['width']}x{case['height']}"
                cells = [name, precision, size, str(case["classes"]), *(f"{case[key]:.4g}" for key in keys)]
                print("| " + " | ".join([*cells, "refused" if parity.fault_of(result) else "passed"]) + " |", flush=True)


def examples(folder: Path | None) -> list[NDArray[np.uint8]]:
    """One image for each odd size."""
    if folder is None:
        return [render("camera", seed=1, index=index, size=size)[0] for index, size in enumerate(ODD)]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [resize_image(read_image(path), size=size) for path, size in zip(paths[:: max(1, len(paths) // 3)], ODD, strict=False)]


def trained(task: Task, frames: Frames, *, steps: int) -> TaskNet:
    """The net after `steps` updates on randomly mirrored frames."""
    net = build(task, pretrained=task.weights != "scratch").train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    last = 0.0
    for _ in range(steps):
        image, label = batch(frames, draw)
        scores = Scores(*net(normalised(image, mean=task.mean, std=task.std)))
        loss = sum(functional.cross_entropy(one, label, ignore_index=IGNORE) for one in scores)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimiser.step()
        last = loss.item()  # type: ignore[union-attr]
    print(f"{task.architecture}: loss {last:.2f} after {steps} updates", file=sys.stderr)
    return net


def batch(frames: Frames, draw: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """-> images (B, H, W, 3) uint8 and labels (B, H, W) int64."""
    chosen = [frames[int(index)] for index in draw.integers(len(frames), size=BATCH)]
    pairs = [(cv2.flip(image, 1), cv2.flip(label, 1)) if draw.random() < 0.5 else (image, label) for image, label in chosen]
    images, labels = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
