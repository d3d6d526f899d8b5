"""The queue before the net, without HTTP: how images are dealt out to runs."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from serving import pictures
from tiny_teacher import tiny_onnx

from export.service.batches import Batches
from export.service.metrics import Metrics
from export.service.models import Model
from export.teacher import CPU, CUDA, Teacher


class Recorder:
    """A session that notes how many images each run has."""

    def __init__(self, session: Any) -> None:
        self.session, self.runs = session, []

    def run(self, names: list[str], feeds: dict[str, Any]) -> Any:
        self.runs.append(len(feeds["image"]))
        return self.session.run(names, feeds)


def answered(images: list[np.ndarray], *, provider: str, batch: int, pixels: int) -> tuple[list[int], list[Any]]:
    """Ask for all at once; -> the runs' sizes, and the answers. provider, batch: what the teacher says of itself."""
    teacher = Teacher(tiny_onnx(), device="cpu", threads=1)
    teacher.provider, teacher.batch, teacher.session = provider, batch, Recorder(teacher.session)
    batches = Batches(runs=1, images=None, pixels=pixels, metrics=Metrics())
    model = Model(1, teacher, None)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(batches.answers(model, image) for image in images))

    answers = asyncio.run(ask())
    batches.close()
    return teacher.session.runs, answers


@pytest.mark.parametrize(
    ("provider", "batch", "pixels", "counts", "runs"),
    [
        (CPU, 1, 10_000, (1, 1, 1), [1, 1, 1]),
        (CPU, 1, 10_000, (3,), [1, 1, 1]),
        (CPU, 4, 10_000, (1, 1, 1, 1, 1), [1, 4]),  # the first finds the net free; the others wait, and share
        (CPU, 4, 10_000, (3, 2, 1), [3, 3]),
        (CPU, 4, 10_000, (6,), [4, 2]),
        (CPU, 4, 900, (3,), [2, 1]),  # two images of 400 pixels are all that may be seen at once
        (CPU, 4, 100, (2,), [1, 1]),  # a single image is always seen
        (CUDA, 4, 10_000, (1, 1, 1), [4, 4]),  # filled up: every run of a GPU is of one size
    ],
)
def test_runs_hold_what_they_may(provider: str, batch: int, pixels: int, counts: tuple[int, ...], runs: list[int]) -> None:
    images = [pictures(count, 20, 20, seed=seed) for seed, count in enumerate(counts)]
    found, answers = answered(images, provider=provider, batch=batch, pixels=pixels)
    assert found == runs
    teacher = Teacher(tiny_onnx(), device="cpu", threads=1)
    for image, maps in zip(images, answers, strict=True):
        for got, expected in zip(maps, teacher.predict(image), strict=True):
            assert np.array_equal(got, expected)
