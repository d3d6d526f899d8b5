"""Gain and cost of test-time augmentation: mirrored images and other scales.

    python benchmarks/views.py RUN [STAGE]

Exports the task model of a finished STAGE (round-0) of RUN with several choices of `teacher.flip` and `teacher.scales`, and
scores each file on the held-out images. Only reads the run.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export import contract
from export.pipeline import Codecs, answers
from export.teacher import Teacher
from export.to_onnx import Segmenter, to_onnx
from selfsyn.calibration import calibration, joint_counts
from selfsyn.config import Teacher as Views
from selfsyn.data.sources import held_out
from selfsyn.images import resize_label
from selfsyn.labels import CLASS_COUNT, CLASSES, protocol
from selfsyn.metrics import figures
from selfsyn.phase import open_run
from selfsyn.pseudo_labels import LEVELS
from selfsyn.stage import Stage
from selfsyn.task import build, load_weights

CHOICES = {
    "one view": Views(),
    "mirrored too": Views(flip=True),
    "scales 0.75, 1, 1.25": Views(scales=(0.75, 1.0, 1.25)),
    "both": Views(flip=True, scales=(0.75, 1.0, 1.25)),
}


@dataclass(frozen=True)
class Found:
    """Scores of a file on the held-out images, and its images per second, including reading the image files."""

    miou: float
    pixel_accuracy: float
    error: float
    rate: float


def main(root: Path, stage: Stage) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    layout, config = open_run(root)
    config = config.of_stage(stage)
    net = build(config.task, pretrained=False)
    load_weights(net, layout.task(stage) / "weights.safetensors")
    print(f"{root.name}, {stage}\n\n| views | mIoU | pixel accuracy | calibration error | images/s |\n|---|---|---|---|---|")
    for name, views in CHOICES.items():
        segmenter = Segmenter(net.eval(), task=config.task, teacher=views)
        metadata = contract.Metadata(CLASSES, config.task.mean, config.task.std, config.size, "sha256:0", stage.name, "0")
        found = scored(root, Teacher(to_onnx(segmenter, metadata=metadata), device="cpu", threads=1))
        cells = [f"{found.miou:.4f}", f"{found.pixel_accuracy:.4f}", f"{found.error:.4f}", f"{found.rate:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def scored(root: Path, teacher: Teacher) -> Found:
    """Score a teacher as `selfsyn evaluate` does."""
    layout, config = open_run(root)
    assert config.held_out is not None
    rules, (frames, _) = protocol(config.held_out.protocol), held_out(layout, config)
    joint = np.zeros((CLASS_COUNT, CLASS_COUNT, LEVELS), np.int64)
    began = time.perf_counter()
    with Codecs() as codecs:
        for answer in answers(frames, teacher=teacher, codecs=codecs):
            truth = answer.frame.read_label()
            maps = (resize_label(map_, size=truth.shape[::-1]) for map_ in (answer.label, answer.confidence))
            joint += joint_counts(truth, *maps)
    rate = len(frames) / (time.perf_counter() - began)
    scores = figures(joint.sum(axis=2), protocol=rules)
    error = calibration(joint, protocol=rules, portion=0.5)["ece"]
    return Found(scores["miou"], scores["pixel_accuracy"], error, rate)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Stage(sys.argv[2] if len(sys.argv) > 2 else "round-0"))
