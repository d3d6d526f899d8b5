"""Decode -> infer -> encode, overlapped: the session runs in the caller's thread, codecs in a pool. Never imports torch.

The result of an image is its own: it depends neither on its neighbours nor on the number of workers. On a CPU each image
is a run of its own; on a GPU every run has the same number of images (the last is filled up), so that the same kernels see
each of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from export.teacher import Teacher, usable_cores
from selfsyn.ahead import ahead
from selfsyn.data.frames import Frame, place
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, digest_lines, write_atomic
from selfsyn.images import encode_label_png, encode_png, read_ids, read_image, resize_image
from selfsyn.labels import CLASS_COUNT
from selfsyn.pseudo_labels import HISTOGRAM, INDEX, encode_histogram, histogram

F = TypeVar("F", bound=Frame)
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Answer(Generic[F]):
    """A frame with the teacher's class and confidence maps, each (height, width) uint8 at the teacher's size."""

    frame: F
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One labelled image as the index lists it; paths are relative to the shard's folder, digests are of files."""

    name: str
    image: str
    label: str
    confidence: str
    label_digest: str
    confidence_digest: str
    mean_confidence: float


class Codecs:
    """A pool that maps work over items in order, a few items ahead of whoever takes the results; with 0 workers, no pool."""

    def __init__(self, *, workers: int | None = None) -> None:
        """workers: threads; default: the cores."""
        self.workers = usable_cores() if workers is None else workers
        self.pool = ThreadPoolExecutor(self.workers) if self.workers else None

    def __enter__(self) -> Codecs:
        return self

    def __exit__(self, *_: object) -> None:
        # What is begun is finished, so no file that could be whole is lost; what waits is dropped.
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def overlapped(self, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """work(item) of each item, in order. At most two items for each worker are under way: memory stays bounded."""
        if self.pool is None:
            yield from map(work, items)
            return
        yield from ahead(work, items, threads=self.pool, most=2 * self.workers)


def answers(frames: Iterable[F], *, teacher: Teacher, codecs: Codecs) -> Iterator[Answer[F]]:
    """The teacher's answer to each frame, in order. InputError, naming the file, for an image that cannot be read."""

    def decoded(frame: F) -> tuple[F, NDArray[np.uint8]]:
        return frame, resize_image(read_image(frame.image), size=teacher.size)

    pictures = codecs.overlapped(decoded, frames)
    while batch := list(itertools.islice(pictures, teacher.batch)):
        images = [image for _, image in batch]
        images += images[-1:] * (teacher.batch - len(images))
        labels, confidences = teacher.predict(np.stack(images))
        for (frame, _), label, confidence in zip(batch, labels, confidences, strict=False):
            yield Answer(frame, label, confidence)


def label_frames(
    frames: Sequence[Frame], *, teacher: Teacher, folder: Path, roots: Sequence[Path], codecs: Codecs
) -> Iterator[tuple[Row, NDArray[np.int64]]]:
    """Write labels/NAME.png and confidence/NAME.png below `folder` for each frame; -> index row and (19, 256) histogram.

    The files are the state: a frame whose two files exist is not shown to the teacher again, its row is made from them.
    roots: the data sets' folders, from which the index names images. InputError for an image that cannot be read.
    """
    done = {frame.name for frame in frames if all(path.exists() for path in _paths(folder, frame))}
    recalled = partial(_recalled, folder=folder, roots=roots, size=teacher.size)
    yield from codecs.overlapped(recalled, [frame for frame in frames if frame.name in done])
    written = partial(_written, folder=folder, roots=roots)
    todo = [frame for frame in frames if frame.name not in done]
    yield from codecs.overlapped(written, answers(todo, teacher=teacher, codecs=codecs))


def evenly_spaced(items: Sequence[A], *, count: int) -> list[A]:
    """The first, the last and others between them: at most `count` different items, in order."""
    positions = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[position] for position in positions]


def write_index(folder: Path, *, rows: Iterable[Row], counts: NDArray[np.int64]) -> dict[str, str]:
    """Write index.jsonl, sorted by name, and histogram.npz of (19, 256) counts; -> the shard's outputs with their digests."""
    lines = [json.dumps(asdict(row)) for row in sorted(rows, key=lambda row: row.name)]
    write_atomic(folder / INDEX, "".join(line + "\n" for line in lines).encode())
    archive = encode_histogram(counts)
    write_atomic(folder / HISTOGRAM, archive)
    return {"labels": digest_lines(lines), HISTOGRAM: digest_bytes(archive)}


def _paths(folder: Path, frame: Frame) -> tuple[Path, Path]:
    return folder / "labels" / f"{frame.name}.png", folder / "confidence" / f"{frame.name}.png"


def _written(answer: Answer[Frame], *, folder: Path, roots: Sequence[Path]) -> tuple[Row, NDArray[np.int64]]:
    data = encode_label_png(answer.label), encode_png(answer.confidence)
    for path, content in zip(_paths(folder, answer.frame), data, strict=True):
        write_atomic(path, content)
    return _described(answer, data=data, folder=folder, roots=roots)


def _recalled(frame: Frame, *, folder: Path, roots: Sequence[Path], size: tuple[int, int]) -> tuple[Row, NDArray[np.int64]]:
    paths = _paths(folder, frame)
    label, confidence = (read_ids(path) for path in paths)
    if not label.shape == confidence.shape == size[::-1] or label.max() >= CLASS_COUNT:
        raise InputError(f"{paths[0]}: not an answer of this teacher; delete it and run the same command again")
    data = paths[0].read_bytes(), paths[1].read_bytes()
    return _described(Answer(frame, label, confidence), data=data, folder=folder, roots=roots)


def _described(
    answer: Answer[Frame], *, data: tuple[bytes, bytes], folder: Path, roots: Sequence[Path]
) -> tuple[Row, NDArray[np.int64]]:
    label, confidence = (str(path.relative_to(folder)) for path in _paths(folder, answer.frame))
    row = Row(
        name=answer.frame.name,
        image=place(answer.frame.image, roots),
        label=label,
        confidence=confidence,
        label_digest=digest_bytes(data[0]),
        confidence_digest=digest_bytes(data[1]),
        mean_confidence=round(float(answer.confidence.mean()), 3),
    )
    return row, histogram(answer.label, answer.confidence)
