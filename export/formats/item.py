"""What every format of labels starts from and ends in: classes, an image with its label, and the files that a tool reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.images import encode_palette_png, read_raw
from selfsyn.labels import IGNORE

DONE = "selfsyn.json"  # says what a finished folder holds
BACKGROUND = "background"  # what the tools call pixels without a class
NO_CLASS = "unlabeled"  # what they are called where a class has that name; no class of a run may have this one
BLACK = (0, 0, 0)

Row = dict[str, Any]
Rows = Callable[[], Iterator[Row]]
Texts = Iterator[str]
Mask = Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class Classes:
    """The classes of a store. names: the position is the train id.  colours: (K, 3) uint8 RGB."""

    names: tuple[str, ...]
    colours: NDArray[np.uint8]

    @property
    def background(self) -> str:
        """The name of pixels without a class."""
        return NO_CLASS if BACKGROUND in self.names else BACKGROUND

    @property
    def with_background(self) -> tuple[str, ...]:
        """The name of no class, and the classes: the numbering of tools in which 0 means no class."""
        return (self.background, *self.names)

    @property
    def numbered(self) -> dict[int, str]:
        """{number from 1 on: class}."""
        return dict(enumerate(self.names, start=1))

    def hex(self, train_id: int) -> str:
        """'#804080'."""
        return "#{:02x}{:02x}{:02x}".format(*self.colours[train_id].tolist())

    def table(self, of_background: int = 0) -> NDArray[np.uint8]:
        """(256,) from a train id to its number from 1 on; IGNORE becomes `of_background`."""
        table = np.full(256, of_background, dtype=np.uint8)
        table[: len(self.names)] = np.arange(1, len(self.names) + 1)
        return table

    def palette(self) -> NDArray[np.uint8]:
        """(256, 3) colours of the numbers of `table`: black, and the classes."""
        colours = np.zeros((256, 3), dtype=np.uint8)
        colours[1 : len(self.names) + 1] = self.colours
        return colours

    def refuse_alike(self) -> None:
        """InputError for black or two classes of one colour: a format that stores colours could not tell them apart."""
        seen: dict[tuple[int, ...], str] = {BLACK: self.background}
        for name, colour in zip(self.names, map(tuple, self.colours.tolist()), strict=True):
            if colour in seen:
                raise InputError(
                    f"classes {seen[colour]!r} and {name!r} have the colour {colour}; give each class its own colour"
                )
            seen[colour] = name


@dataclass(frozen=True)
class Labelled:
    """An image to hand over. name: unique, valid as a file name.  stem: its file's path without suffix, as short as is unique.

    label: (H, W) train ids, IGNORE where no label is given.  confidence: (H, W) 0..255. Both at the size of the image file.
    model: the teacher's digest.
    """

    name: str
    image: Path
    stem: str
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    model: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.label.shape[1], self.label.shape[0]

    @property
    def mean_confidence(self) -> float:
        """Over the labelled pixels, 0..1, to four decimals; 0 without any."""
        given = self.confidence[self.label != IGNORE]
        return round(float(given.mean()) / 255, 4) if given.size else 0.0

    def segments(self) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
        """(train id, its pixels (H, W), their mean confidence 0..1) of each class in the label, by train id."""
        for train_id in np.flatnonzero(np.bincount(self.label.ravel(), minlength=256)[:IGNORE]).tolist():
            pixels = self.label == train_id
            yield train_id, pixels, round(float(self.confidence[pixels].mean()) / 255, 4)

    def numbered_png(self, classes: Classes) -> bytes:
        """The label as a palette PNG: 0 and black for IGNORE, then the classes from 1 on."""
        return encode_palette_png(classes.table()[self.label], palette=classes.palette())


@dataclass(frozen=True)
class Pieces:
    """What a format makes of an image. files: {path in the folder: bytes}.  links: {path in the folder: existing file}.

    row: what the files that close the folder need of it, as JSON.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, Path] = field(default_factory=dict)
    row: Row = field(default_factory=dict)


class Format(Protocol):
    """A module of this package. It writes the folder that a tool imports, and reads the masks that the tool exports."""

    @property
    def COLOURED(self) -> bool:
        """Whether colours tell the classes apart."""
        ...

    def pieces(self, item: Labelled, classes: Classes) -> Pieces:
        """The files of an image."""
        ...

    def closing(self, rows: Rows, classes: Classes) -> Iterator[tuple[str, Texts]]:
        """(path, its text in parts) of each file about all images. rows: begins a new pass over the rows, in order."""
        ...

    def masks(self, folder: Path, classes: Classes) -> Iterator[tuple[str, Mask]]:
        """(name of the image, function that reads its (H, W) train ids) of each mask in a folder of the tool's export."""
        ...


@contextmanager
def expected(path: Path, what: str, where: str = "") -> Iterator[None]:
    """Let a file that is built otherwise end in an InputError. what: the expected export.  where: the place in the file."""
    try:
        yield
    except InputError:  # says it better
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        fault = f"no {error}" if isinstance(error, KeyError) else str(error)
        place = f"{where}: " if where else ""
        raise InputError(f"{path}: {place}{fault}; expected {what}; export it again") from error


def colours_in(path: Path) -> NDArray[np.uint8]:
    """The (H, W, 3) colours of a picture of colours or of a palette. InputError when unreadable."""
    return np.asarray(read_raw(path).convert("RGB"))


def json_list(lines: Iterator[str]) -> Texts:
    """The parts of a JSON array of values that are JSON already, one a line."""
    comma = ""
    yield "["
    for line in lines:
        yield f"{comma}\n{line}"
        comma = ","
    yield "\n]"


def train_id_table(names: Mapping[int, str], classes: Classes, *, path: Path) -> NDArray[np.uint8]:
    """{number in a file: class name} -> (256,) table to train ids. InputError for a class that the run lacks."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    for number, name in names.items():
        if not 0 <= number < len(table):
            raise InputError(f"{path}: class {name!r} has the number {number}; expected 0 to 255")
        table[number] = train_id_of(name, classes, path=path)
    return table


def train_id_of(name: str, classes: Classes, *, path: Path) -> int:
    """The train id of a class name; IGNORE for that of no class. InputError for another name."""
    if name == classes.background:
        return IGNORE
    if name not in classes.names:
        raise InputError(f"{path}: class {name!r}; expected one of {', '.join(classes.names)}, or {classes.background}")
    return classes.names.index(name)


def by_colour(
    colours: NDArray[np.uint8], names: Mapping[tuple[int, int, int], str], classes: Classes, *, path: Path
) -> NDArray[np.uint8]:
    """(H, W, 3) colours -> (H, W) train ids. InputError for a colour without a name."""
    packed = (colours.astype(np.uint32) * np.array([65536, 256, 1], dtype=np.uint32)).sum(axis=2)
    found, places = np.unique(packed, return_inverse=True)
    ids = np.zeros(len(found), dtype=np.uint8)
    for place, number in enumerate(found.tolist()):
        colour = (number >> 16, number >> 8 & 255, number & 255)
        if colour not in names:
            raise InputError(f"{path}: colour {colour} is of no class; expected those of the label map; export the masks again")
        ids[place] = train_id_of(names[colour], classes, path=path)
    return np.asarray(ids[places.reshape(packed.shape)], dtype=np.uint8)
