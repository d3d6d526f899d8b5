"""Training examples: a frame with its ground truth, with a pseudo-label, or without a label."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from selfsyn.ahead import ahead
from selfsyn.corrections import CorrectedStore
from selfsyn.data.augment import Record
from selfsyn.data.color_transfer import Colours, colours_of_file, stacked, unstacked
from selfsyn.data.frames import Frame, LabelledFrame
from selfsyn.data.sampling import pixels_by_class
from selfsyn.errors import InputError
from selfsyn.files import write_atomic
from selfsyn.images import UnreadableError, read_image
from selfsyn.labels import CLASS_COUNT, IGNORE
from selfsyn.pseudo_labels import without_border

Picture = NDArray[np.uint8]
MOST_LOOKED_AT = 500  # frames of a data set whose colours are measured


class Example(Protocol):
    """A training example: an image and per-pixel maps."""

    @property
    def name(self) -> str:
        """The file it came from, for messages."""
        ...

    @property
    def certain(self) -> bool:
        """Whether its labels are ground truth."""
        ...

    def read(self) -> Record:
        """'image' (H, W, 3) RGB and 'label' (H, W) train ids at their size on disk, and any other maps.

        All arrays show the same view; their resolutions may differ.
        """
        ...

    def read_label(self) -> Picture:
        """-> (H, W) train ids, without reading the image where possible."""
        return np.asarray(self.read()["label"])


@dataclass(frozen=True)
class Border:
    """The image border whose pseudo-labels are ignored: top, right, bottom, left in pixels of `size` (width, height)."""

    pixels: tuple[int, int, int, int] = (0, 0, 0, 0)
    size: tuple[int, int] = (1, 1)

    def hidden(self, label: Picture) -> Picture:
        """(H, W) train ids -> a copy with IGNORE in the border."""
        return without_border(label, border=self.pixels, size=self.size) if any(self.pixels) else label


NO_BORDER = Border()


@dataclass(frozen=True)
class _OfFrame(Example):
    frame: Frame

    @property
    def name(self) -> str:
        """The image file."""
        return str(self.frame.image)

    @property
    def certain(self) -> bool:
        """See Example."""
        return False

    def read(self) -> Record:
        """See Example."""
        return {"image": read_image(self.frame.image), "label": self.read_label()}


@dataclass(frozen=True)
class LabelledExample(_OfFrame):
    """A frame with its ground truth."""

    frame: LabelledFrame

    @property
    def certain(self) -> bool:
        """See Example."""
        return True

    def read_label(self) -> Picture:
        """See Example."""
        return self.frame.read_label()


@dataclass(frozen=True)
class PseudoLabelledExample(_OfFrame):
    """A real image with a pseudo-label: of each class the most confident `portion` of pixels, without the border.

    The mask of a person, if there is one, replaces it, border and all.
    """

    store: CorrectedStore
    portion: float
    border: Border = NO_BORDER

    @property
    def certain(self) -> bool:
        """Whether a person has corrected it."""
        return self.frame.name in self.store.corrections

    def read_label(self) -> Picture:
        """See Example."""
        label = self.store.read(self.frame.name, portion=self.portion)
        return label if self.certain else self.border.hidden(label)


@dataclass(frozen=True)
class BareExample(_OfFrame):
    """An unlabelled real image: every pixel is IGNORE. 'open' (H, W) is 1 where a teacher may label it, 0 in the border."""

    border: Border = NO_BORDER

    def read(self) -> Record:
        """See Example."""
        image = read_image(self.frame.image)
        within = self.border.hidden(np.zeros(image.shape[:2], dtype=np.uint8)) != IGNORE
        return {"image": image, "label": np.full(within.shape, IGNORE, dtype=np.uint8), "open": within.astype(np.uint8)}


def class_counts(examples: Sequence[Example], *, file: Path, workers: int, classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """(N, K + 1) pixels by class of each example, see pixels_by_class. Counted once and cached in `file`, a .npy."""
    if not file.exists():
        with ThreadPoolExecutor(max(1, workers)) as threads:
            rows = ahead(
                lambda example: pixels_by_class(example.read_label(), classes=classes),
                examples,
                threads=threads,
                most=4 * workers,
            )
            _write_array(file, np.stack(list(rows)))
    counts: NDArray[np.int64] = np.load(file)
    return counts


def colours_of_frames(frames: Sequence[Frame], *, size: tuple[int, int], file: Path, workers: int) -> tuple[Colours, ...]:
    """Colour statistics of at most MOST_LOOKED_AT evenly spaced frames, resized to `size`. Cached in `file`, a .npy.

    Unreadable images are skipped. InputError, naming the first of them, when all are unreadable.
    """
    if not file.exists():
        chosen = frames[:: max(1, -(-len(frames) // MOST_LOOKED_AT))]
        with ThreadPoolExecutor(max(1, workers)) as threads:
            looked = ahead(lambda frame: _colours_or_why(frame, size=size), chosen, threads=threads, most=4 * workers)
            found = list(looked)
        colours = [one for one in found if isinstance(one, Colours)]
        if not colours:
            raise InputError(f"{found[0]} (none of the {len(found)} sampled real images can be read; copy them again)")
        _write_array(file, stacked(colours))
    return unstacked(np.load(file))


def _colours_or_why(frame: Frame, *, size: tuple[int, int]) -> Colours | UnreadableError:
    try:
        return colours_of_file(frame.image, size=size)
    except UnreadableError as error:
        return error


def _write_array(file: Path, array: NDArray[np.int64] | NDArray[np.float64]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_atomic(file, buffer.getvalue())


def label_counts(examples: Sequence[Example], *, enough: int = 500, classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """(K,) pixel counts by class over every Nth example; N is the largest stride that leaves `enough` examples."""
    stride = max(1, len(examples) // enough)
    counts = np.zeros(256, dtype=np.int64)
    for example in examples[::stride]:
        counts += np.bincount(example.read_label().ravel(), minlength=256)
    return counts[:classes]
