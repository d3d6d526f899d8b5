"""Batching: when the net is free, it takes all waiting images of one size, up to the batch size.

No request waits for a batch to fill, so an idle server answers at once. On a CPU a batch holds one image, because more gain
nothing there (14 ms an image alone, 13 to 17 ms in batches of 2 to 8). On a GPU each batch is padded to the same size, as in
labelling, so that the answer to an image does not depend on the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from export.service.metrics import Metrics
from export.service.models import Model
from export.service.refusals import Refusal
from export.teacher import CPU
from selfsyn.errors import FaultError

Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # labels and confidences, each (B, H, W)


@dataclass(eq=False)
class Job:
    """A few images of one size that wait for `model`. answer: a future of their maps, or of an error."""

    model: Model
    images_BHWC: NDArray[np.uint8]
    answer: asyncio.Future[Maps] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fits(self, other: Job) -> bool:
        """Whether both fit into one batch."""
        return self.model is other.model and self.images_BHWC.shape[1:] == other.images_BHWC.shape[1:]


class Batches:
    """The queue before the net. Only the net itself runs outside the event loop's thread."""

    def __init__(self, *, runs: int, images: int | None, pixels: int, metrics: Metrics) -> None:
        """runs: concurrent ones.  images: limit of a batch; None: the device's batch size.  pixels: limit of a batch."""
        self.runs, self.images, self.pixels, self.metrics = runs, images, pixels, metrics
        self.pending: deque[Job] = deque()
        self.running: set[asyncio.Task[None]] = set()
        self.threads = ThreadPoolExecutor(runs, thread_name_prefix="net")
        self.broken = ""  # why the device failed; '' while it works

    async def answers(self, model: Model, images_BHWC: NDArray[np.uint8]) -> Maps:
        """(B, H, W, 3) uint8 -> labels and confidences, each (B, H, W) uint8. Refusal when the net cannot answer."""
        _refuse_other_size(model, images_BHWC)
        jobs = [Job(model, part) for part in self._parts(model, images_BHWC)]
        self.pending.extend(jobs)
        self._start()
        labels, confidences = zip(*await asyncio.gather(*(job.answer for job in jobs)), strict=True)
        return np.concatenate(labels), np.concatenate(confidences)

    def close(self) -> None:
        """Wait for the runs that have begun."""
        self.threads.shutdown(wait=True, cancel_futures=True)

    def most(self, model: Model, *, height: int, width: int) -> int:
        """The batch size for images of that size."""
        return max(1, min(self.images or model.teacher.batch, self.pixels // (height * width)))

    def _parts(self, model: Model, images_BHWC: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        step = self.most(model, height=images_BHWC.shape[1], width=images_BHWC.shape[2])
        for first in range(0, len(images_BHWC), step):
            yield images_BHWC[first : first + step]

    def _start(self) -> None:
        while len(self.running) < self.runs and (jobs := self._taken()):
            task = asyncio.get_running_loop().create_task(self._run(jobs))
            self.running.add(task)
            task.add_done_callback(self._ended)
        self.metrics.waiting.set(len(self.pending))
        self.metrics.running.set(len(self.running))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._start()

    def _taken(self) -> list[Job]:
        """The job that has waited longest, and others that fit into its batch. Jobs without a waiting client are dropped."""
        self.pending = deque(job for job in self.pending if not job.answer.done())
        if not self.pending:
            return []
        first = self.pending.popleft()
        taken, room = [first], self._room(first)
        for job in list(self.pending):
            if job.fits(first) and len(job.images_BHWC) <= room:
                self.pending.remove(job)
                taken.append(job)
                room -= len(job.images_BHWC)
        return taken

    def _room(self, job: Job) -> int:
        count, height, width, _ = job.images_BHWC.shape
        return self.most(job.model, height=height, width=width) - count

    async def _run(self, jobs: list[Job]) -> None:
        images = np.concatenate([job.images_BHWC for job in jobs])
        loop = asyncio.get_running_loop()
        try:
            labels, confidences = await loop.run_in_executor(self.threads, self._predicted, jobs[0].model, images)
        except Exception as error:
            await self._failed(jobs, error)
            return
        first = 0
        for job in jobs:
            last = first + len(job.images_BHWC)
            if not job.answer.done():
                job.answer.set_result((labels[first:last], confidences[first:last]))
            first = last

    async def _failed(self, jobs: list[Job], error: Exception) -> None:
        """Retry each job alone, so that one bad image does not fail the others."""
        if len(jobs) > 1:
            for job in jobs:
                await self._run([job])
        elif not jobs[0].answer.done():
            jobs[0].answer.set_exception(error)

    def _predicted(self, model: Model, images_BHWC: NDArray[np.uint8]) -> Maps:
        count = len(images_BHWC)
        if model.teacher.provider != CPU:
            whole = self.most(model, height=images_BHWC.shape[1], width=images_BHWC.shape[2])
            filling = (model.teacher.batch if model.teacher.fixed else whole) - count
            images_BHWC = np.concatenate([images_BHWC, *[images_BHWC[-1:]] * filling])
        began = time.monotonic()
        labels, confidences = self._sound(model, images_BHWC)
        self.metrics.run_seconds.observe(time.monotonic() - began)
        self.metrics.run_images.observe(count)
        return labels[:count], confidences[:count]

    def _sound(self, model: Model, images_BHWC: NDArray[np.uint8]) -> Maps:
        """The model's maps. If it fails, a black image tells whether the images or the device are at fault."""
        try:
            maps = model.teacher.predict(images_BHWC)
        except FaultError:
            raise
        except Exception as error:  # onnxruntime's errors share no class of their own
            self._probe(model)
            height, width = images_BHWC.shape[1:3]
            raise Refusal(400, f"the model cannot compute images of {width}x{height}; send larger ones") from error
        self.broken = ""
        return maps

    def _probe(self, model: Model) -> None:
        try:
            model.warm_up()
        except Exception as error:
            self.broken = str(error).splitlines()[0]
            raise Refusal(503, "the net's device has failed; try another server") from error


def _refuse_other_size(model: Model, images_BHWC: NDArray[np.uint8]) -> None:
    """A TensorRT engine takes one size. Pictures have been resized to it, tensors have not."""
    height, width = images_BHWC.shape[1:3]
    expected = model.teacher.size
    if model.teacher.fixed and (width, height) != expected:
        raise Refusal(
            400, f"images of {width}x{height}; expected {expected[0]}x{expected[1]}, the size of the TensorRT engine; resize them"
        )
