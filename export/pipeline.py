"""Decode, infer and encode, overlapped, in bounded memory. Never imports torch.

On a CPU a worker handles one image from file to file, one worker for each core, so no core waits for another inside a
convolution. On a GPU the session runs in the caller's thread, with codecs in a pool before and behind it, and every batch has
the same size (the last one is padded), so that the same kernels see each image. Either way an image's result depends neither on
its neighbours nor on the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from export.teacher import Teacher
from selfsyn.ahead import ahead
from selfsyn.classes import ClassList
from selfsyn.cores import usable_cores
from selfsyn.data.frames import Frame, place
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, stream_atomic, write_atomic
from selfsyn.images import UnreadableError, decode_ids, encode_label_png, encode_png, read_image, resize_image
from selfsyn.labels import CLASS_COUNT
from selfsyn.packed_maps import Maps, Packer
from selfsyn.progress import say
from selfsyn.pseudo_labels import HISTOGRAM, INDEX, encode_histogram, histogram, maps_of, no_counts

F = TypeVar("F", bound=Frame)
A = TypeVar("A")
B = TypeVar("B")

LANES = 8  # images in the net at once on a CPU, at most: each needs memory for its activations
PASSING = 64  # items that skip the net and may wait behind an unfilled batch, in order


@dataclass(frozen=True)
class Picture(Generic[F]):
    """A frame whose image is decoded: (height, width, 3) uint8 at the teacher's size."""

    frame: F
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Answer(Generic[F]):
    """A frame with the teacher's class and confidence maps, each (height, width) uint8 at the teacher's size.

    files: the bytes of their two PNG files if an earlier attempt wrote them.
    """

    frame: F
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    files: Maps | None = None


@dataclass(frozen=True)
class Row:
    """The index row of a labelled image; paths are relative to the shard's folder, digests are of files."""

    name: str
    image: str
    label: str
    confidence: str
    label_digest: str
    confidence_digest: str
    mean_confidence: float


@dataclass(frozen=True)
class Skipped:
    """The index row of an unreadable image. skipped: why it cannot be read."""

    name: str
    image: str
    skipped: str


@dataclass(frozen=True)
class Written:
    """What write_index counted. outputs: digests of the shard's files, by name."""

    images: int
    skipped: int
    outputs: dict[str, str]


class Codecs:
    """A thread pool that maps a function over items in order, a few items ahead of its consumer; 0 workers: no threads."""

    def __init__(self, *, workers: int | None = None) -> None:
        """workers: threads; default: one more than the cores, because one of them usually waits for the disk."""
        self.workers = usable_cores() + 1 if workers is None else workers
        self.pool = ThreadPoolExecutor(self.workers) if self.workers else None

    def __enter__(self) -> Codecs:
        return self

    def __exit__(self, *_: object) -> None:
        # Finish running work, so that no file is lost half-way; drop waiting work.
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)

    def overlapped(self, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
        """work(item) of each item, in order. At most two items for each worker are under way: memory stays bounded."""
        if self.pool is None:
            yield from map(work, items)
            return
        yield from ahead(work, items, threads=self.pool, most=2 * self.workers)


def lanes(*, workers: int | None) -> int:
    """Number of images in the net at once on a CPU. workers: default: the cores."""
    return max(1, min(usable_cores() if workers is None else workers, LANES))


def answers(frames: Iterable[F], *, teacher: Teacher, codecs: Codecs) -> Iterator[Answer[F]]:
    """The teacher's answer to each frame, in order. InputError, naming the file, for an unreadable image."""
    yield from _answered(frames, _decoded, _never_skipped, teacher=teacher, codecs=codecs)


def label_frames(
    frames: Iterable[Frame], *, teacher: Teacher, folder: Path, roots: Sequence[Path], codecs: Codecs, pack: bool = False
) -> Iterator[tuple[Row | Skipped, NDArray[np.int64]]]:
    """Write labels/NAME.png and confidence/NAME.png below `folder` for each frame; -> index row and (K, 256) histogram.

    In the order of the frames. A frame whose two maps an earlier attempt wrote is not labelled again; its row is made from them.
    An unreadable image gets no maps, a row that says why, and an empty histogram.
    roots: folders of the data sets; image paths in the index are relative to them.  pack: write all maps into one file, see
    selfsyn.packed_maps.
    """
    classes = teacher.metadata.class_list
    packer = Packer(folder) if pack else None
    read = partial(_recalled_or_decoded, folder=folder, roots=roots, packer=packer, classes=classes)
    write = partial(_written, folder=folder, roots=roots, packed=pack, classes=classes)
    for row, counts, maps in _answered(frames, read, write, teacher=teacher, codecs=codecs):
        if packer is not None:
            packer.add(row.name, maps)
        yield row, counts
    if packer is not None:
        packer.finish()
        for path in maps_of(folder, ""):  # of an earlier attempt that did not pack
            shutil.rmtree(path.parent, ignore_errors=True)


def write_index(
    folder: Path, *, labelled: Iterable[tuple[Row | Skipped, NDArray[np.int64]]], spoiled: int, classes: int = CLASS_COUNT
) -> Written:
    """Write the results of label_frames: index.jsonl row by row, then histogram.npz of (K, 256) counts.

    spoiled: the number of images that may be unreadable.  classes: of the teacher. InputError, naming the image, beyond it.
    """
    counts, images, skipped, digest = no_counts(classes), 0, 0, hashlib.sha256()
    with stream_atomic(folder / INDEX) as stream:
        for row, one in labelled:
            if isinstance(row, Skipped):
                skipped += 1
                _refuse_too_many(row, skipped=skipped, spoiled=spoiled)
                say(f"{row.image}: {row.skipped}; left out ({skipped} of at most {spoiled}, see teacher.unreadable)")
            line = json.dumps(asdict(row)).encode() + b"\n"
            stream.write(line)
            digest.update(line)
            images += not isinstance(row, Skipped)
            counts += one
    archive = encode_histogram(counts)
    write_atomic(folder / HISTOGRAM, archive)
    return Written(images, skipped, {"labels": f"sha256:{digest.hexdigest()}", HISTOGRAM: digest_bytes(archive)})


def _refuse_too_many(row: Skipped, *, skipped: int, spoiled: int) -> None:
    if skipped > spoiled:
        raise InputError(
            f"{row.image}: {row.skipped}; {skipped} images cannot be read, teacher.unreadable allows {spoiled};"
            " replace or remove the files and label again with --force"
        )


def _answered(
    frames: Iterable[F],
    read: Callable[[F, tuple[int, int]], Picture[F] | Answer[F] | Skipped],
    write: Callable[[Answer[F] | Skipped], B],
    *,
    teacher: Teacher,
    codecs: Codecs,
) -> Iterator[B]:
    """Yield write(result) for each frame, in order. A Picture from read(frame, size) goes through the teacher first."""

    def reading(frame: F) -> Picture[F] | Answer[F] | Skipped:
        return read(frame, teacher.size)

    def alone(frame: F) -> B:
        item = reading(frame)
        return write(_answer([item], teacher=teacher)[0] if isinstance(item, Picture) else item)

    if teacher.batch == 1:
        yield from codecs.overlapped(alone, frames)
    else:
        yield from codecs.overlapped(write, _batched(codecs.overlapped(reading, frames), teacher=teacher))


def _batched(items: Iterable[Picture[F] | Answer[F] | Skipped], *, teacher: Teacher) -> Iterator[Answer[F] | Skipped]:
    """Let the teacher label the pictures in full batches; all items keep their order."""
    waiting: list[Picture[F] | Answer[F] | Skipped] = []
    pictures = 0
    for item in items:
        waiting.append(item)
        pictures += isinstance(item, Picture)
        if pictures == teacher.batch or pictures == 0 or len(waiting) > teacher.batch + PASSING:
            yield from _flushed(waiting, teacher=teacher)
            waiting, pictures = [], 0
    yield from _flushed(waiting, teacher=teacher)


def _flushed(items: Sequence[Picture[F] | Answer[F] | Skipped], *, teacher: Teacher) -> Iterator[Answer[F] | Skipped]:
    asked = iter(_answer([item for item in items if isinstance(item, Picture)], teacher=teacher))
    for item in items:
        yield next(asked) if isinstance(item, Picture) else item


def _answer(pictures: Sequence[Picture[F]], *, teacher: Teacher) -> list[Answer[F]]:
    if not pictures:
        return []
    images = [picture.image for picture in pictures]
    images += images[-1:] * (teacher.batch - len(images))
    labels, confidences = teacher.predict(np.stack(images))
    return [Answer(picture.frame, *maps) for picture, *maps in zip(pictures, labels, confidences, strict=False)]


def _never_skipped(answer: Answer[F] | Skipped) -> Answer[F]:
    assert isinstance(answer, Answer)  # _decoded raises for what it cannot read
    return answer


def _decoded(frame: F, size: tuple[int, int]) -> Picture[F]:
    return Picture(frame, resize_image(read_image(frame.image), size=size))


def _recalled_or_decoded(
    frame: Frame, size: tuple[int, int], *, folder: Path, roots: Sequence[Path], packer: Packer | None, classes: ClassList
) -> Picture[Frame] | Answer[Frame] | Skipped:
    maps = packer.recalled(frame.name) if packer else None
    if maps is None and all(path.exists() for path in maps_of(folder, frame.name)):
        label, confidence = (path.read_bytes() for path in maps_of(folder, frame.name))
        maps = label, confidence
    if maps is not None:
        return _recalled(frame, maps, folder=folder, size=size, classes=classes)
    try:
        return _decoded(frame, size)
    except UnreadableError as error:
        return Skipped(frame.name, place(frame.image, roots), error.reason)


def _recalled(frame: Frame, maps: Maps, *, folder: Path, size: tuple[int, int], classes: ClassList) -> Answer[Frame]:
    paths = maps_of(folder, frame.name)
    label, confidence = (decode_ids(data, name=str(path)) for data, path in zip(maps, paths, strict=True))
    if not label.shape == confidence.shape == size[::-1] or label.max() >= len(classes):
        raise InputError(f"{paths[0]}: not a label map of this teacher; delete it and run the same command again")
    return Answer(frame, label, confidence, maps)


def _written(
    answer: Answer[Frame] | Skipped, *, folder: Path, roots: Sequence[Path], packed: bool, classes: ClassList
) -> tuple[Row | Skipped, NDArray[np.int64], Maps | None]:
    """The row, the histogram and the files of an answer; new files are written unless they are packed."""
    if isinstance(answer, Skipped):
        return answer, no_counts(len(classes)), None
    data = answer.files
    if data is None:
        data = encode_label_png(answer.label, classes), encode_png(answer.confidence)
        for path, content in zip(maps_of(folder, answer.frame.name), data, strict=True):
            if not packed:
                write_atomic(path, content)
    counts = histogram(answer.label, answer.confidence, classes=len(classes))
    return _described(answer, data=data, folder=folder, roots=roots), counts, data


def _described(answer: Answer[Frame], *, data: tuple[bytes, bytes], folder: Path, roots: Sequence[Path]) -> Row:
    label, confidence = (str(path.relative_to(folder)) for path in maps_of(folder, answer.frame.name))
    return Row(
        name=answer.frame.name,
        image=place(answer.frame.image, roots),
        label=label,
        confidence=confidence,
        label_digest=digest_bytes(data[0]),
        confidence_digest=digest_bytes(data[1]),
        mean_confidence=round(float(answer.confidence.mean()), 3),
    )
