"""Results of the parity check of `export-teacher`: each net, float32 and float16, images of odd sizes; and images per second.

    python benchmarks/parity.py [STEPS [NET]]

Each net, or only NET (DeepLabV3+, FCN, SegNet, ViT), trains for STEPS (60) updates on rendered frames, so that its scores have
the spread of a trained net. DeepLabV3+ starts from EfficientNet-Lite0's ImageNet weights, FCN (ResNet-18), SegNet (VGG16) and the
ViT-S/14 from random weights. Onnxruntime runs on the CPU. There, float16 weights and activations are rounded as on a GPU, but
convolutions sum in float32. Images per second: one image of SPEED pixels at a time, one thread, in turn; the best of five.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

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
from selfsyn.labels import CLASSES, IGNORE
from selfsyn.task import Scores, TaskNet, build, normalised
from selfsyn.world import render

HALF, WHOLE = (0.5, 0.5, 0.5), (160, 112)
TASKS = {
    "DeepLabV3+": Task("deeplabv3plus", "efficientnet_lite0", weights="package", decoder_channels=96, mean=HALF, std=HALF),
    "FCN": Task("fcn", "resnet18", weights="scratch", mean=HALF, std=HALF),
    "SegNet": Task("segnet", "vgg16_bn", weights="scratch", mean=HALF, std=HALF),
    "ViT": Task("vit", "vit_small_patch14_dinov2", weights="scratch", mean=HALF, std=HALF, input_scale=1.4),
}
SPEED = (240, 176)
ODD = ((161, 113), (243, 177), (321, 95))
FRAMES, BATCH = 24, 4
Frames = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def main(steps: int, nets: Sequence[str]) -> None:
    """Train, export and compare each net; print a Markdown table, and a line with the rates of each net."""
    torch.manual_seed(0)
    frames = [render("engine", seed=0, index=index, size=WHOLE) for index in range(FRAMES)]
    pictures = [render("camera", seed=1, index=index, size=size)[0][None] for index, size in enumerate(ODD)]
    keys = ("mismatches", "mismatch_share", "unexplained", "beyond_share", "largest_score_difference", "largest_score",
            "largest_margin", "largest_confidence_difference")  # fmt: skip
    print("| net | precision | size | classes | " + " | ".join(key.replace("_", " ") for key in keys) + " | gate |")
    print("|---" * (len(keys) + 5) + "|")
    for name, task in ((name, TASKS[name]) for name in nets):
        segmenter = Segmenter(trained(task, frames, steps=steps).eval(), task=task)
        metadata = contract.Metadata(CLASSES, task.mean, task.std, WHOLE, "sha256:0", "benchmark", "0")
        model, net = to_onnx(segmenter, metadata=metadata), parity.answers(segmenter, pictures)
        print(f"{name}: {len(model) / 1e6:.1f} MB, {rates(segmenter, model)}", file=sys.stderr)
        for precision, data in ((contract.FP32, model), (contract.FP16, halved(model))):
            teacher = Teacher(data, device="cpu")
            teacher.check()
            limits = parity.limits_of(segmenter, precision=precision)
            result = parity.compare(net, teacher, scores=parity.scorer(data), limits=limits)
            for case in result["cases"]:
                size = f"{case['width']}x{case['height']}"
                cells = [name, precision, size, str(case["classes"]), *(f"{case[key]:.4g}" for key in keys)]
                print("| " + " | ".join([*cells, "refused" if parity.fault_of(result) else "passed"]) + " |", flush=True)


def rates(segmenter: Segmenter, model: bytes) -> str:
    """Images per second of torch (eager) and of onnxruntime."""
    image = render("camera", seed=1, index=0, size=SPEED)[0][None]
    teacher, best = Teacher(model, device="cpu", threads=1), {"torch": 0.0, "onnxruntime": 0.0}
    tensor = torch.tensor(image)
    for _ in range(5):
        for name, work in (("torch", lambda: segmenter(tensor)), ("onnxruntime", lambda: teacher.predict(image))):
            began = time.perf_counter()
            with torch.inference_mode():
                work()
            best[name] = max(best[name], 1 / (time.perf_counter() - began))
    return f"torch {best['torch']:.1f} images/s, onnxruntime {best['onnxruntime']:.1f}"


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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:] or list(TASKS))
