"""The description of a data set layout: where images and labels are, and what the ids on disk mean."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, IGNORE, ClassList
from selfsyn.errors import InputError
from selfsyn.images import read_ids
from selfsyn.labels import table_of

# ruff: noqa: PTH118, PTH120  (text is several times faster than Path)
LONGEST = 229  # bytes: with a temporary prefix of 22 and '.png' it is still a file name, which has 255
Finder = Callable[[Path, str], dict[str, Path]]
IdReader = Callable[[Path], NDArray[np.uint8]]
Sample = Sequence[tuple[Path, NDArray[np.uint8]]]  # label files and their ids on disk


def named(found: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """{frame name: path} of (name, path), sorted by path, without hidden files (macOS writes ._NAME beside each file).

    Names are composed Unicode (NFC), so that an image and its label pair up whichever system wrote them.
    InputError, with both paths, for two files of one name: only one of them could be the frame; for a name or folder that is not
    UTF-8, or too long for the files that are made from it; and for a folder, a pipe or a device, which would never end.
    """
    pictures = [(name, path) for name, path in found if not path.name.startswith(".")]
    pictures.sort(key=lambda picture: str(picture[1]))
    _refuse_others([str(path) for _, path in pictures])
    names: dict[str, Path] = {}
    for name, path in pictures:
        name = unicodedata.normalize("NFC", _encodable(name, path))
        if name in names:
            raise InputError(
                f"{path}: has the name of {names[name]}; expected one file for each frame; rename or move one of them"
            )
        names[name] = path
    return names


def _refuse_others(paths: Sequence[str]) -> None:
    """InputError for a path that is no file. Only links and what the listing of a folder does not call a file are looked up."""
    doubtful = {place for folder in {os.path.dirname(path) for path in paths} for place in _no_files(folder)}
    for path in paths:
        if path in doubtful:
            _refuse_no_file(Path(path))


def _no_files(folder: str) -> Iterator[str]:
    with os.scandir(folder or os.curdir) as entries:
        yield from (os.path.join(folder, entry.name) for entry in entries if not entry.is_file(follow_symlinks=False))


def _refuse_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # a broken link: whoever reads it names it, or leaves it out
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{path}: {what} with the name of a picture; expected a file; remove or rename it")


def _encodable(name: str, path: Path) -> str:
    try:
        length = len(str(path).encode()) and len(name.encode())
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(path)!r}: a name that is not UTF-8; rename the file") from None
    if min(str(path)) < " ":
        raise InputError(f"{str(path)!r}: a name with control characters, as a line end; rename the file or folder")
    if not name:
        raise InputError(
            f"{path}: nothing before the ending {path.name}; expected the name of a frame; rename or remove the file"
        )
    if length > LONGEST:
        raise InputError(
            f"{path}: a name of {length} bytes; expected at most {LONGEST}, because files are named after it; rename it"
        )
    return name


def no_reason(path: Path) -> str:
    """For layouts whose pictures that are no frames have only the common reasons."""
    return ""


def no_areas(root: Path, split: str) -> list[Path]:
    """For layouts that our own jobs write."""
    return []


def nothing_to_verify(sample: Sample) -> None:
    """For layouts whose labels cannot be confused with others."""


@dataclass(frozen=True)
class DataSet:
    """A layout, and the classes of the run that reads it.

    find_images, find_labels: (root, split) -> {frame name: path}; a name is unique and a valid file name.
    names: what the ids on disk stand for, in the words of the data set; other ids are refused. None: they are train ids.
    expects: the expected files, for messages.
    classes: the classes of the run, which say what train id a name has.
    read: a label file -> (H, W) uint8 ids.
    unusable: published frames to leave out, with the reason.  mis_sized: published frames to leave out if their label has
    another size than the image.
    unlabelled: splits whose label files are dummies.
    verify: checks a few labels; InputError when they are not labels of this layout.
    areas: (root, split) -> folders in which every picture should be a frame.  halves: splits that share those folders.
    reason: why a picture there is no frame ('with ...'), or '' for the common reasons.
    """

    find_images: Finder
    find_labels: Finder
    names: Mapping[int, str] | None
    expects: str
    classes: ClassList = CITYSCAPES_19
    read: IdReader = read_ids
    unusable: Mapping[str, str] = field(default_factory=dict)
    mis_sized: frozenset[str] = frozenset()
    unlabelled: frozenset[str] = frozenset()
    verify: Callable[[Sample], None] = nothing_to_verify
    areas: Callable[[Path, str], list[Path]] = no_areas
    halves: tuple[str, ...] = ()
    reason: Callable[[Path], str] = no_reason

    @cached_property
    def name_of(self) -> Mapping[int, str]:
        """The name of each id that may occur."""
        return dict(enumerate(self.classes.names)) | {IGNORE: "ignore"} if self.names is None else self.names

    @property
    def known(self) -> frozenset[int]:
        """The ids that may occur; others are refused."""
        return frozenset(self.name_of)

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,) uint8, id on disk -> train id."""
        return table_of(self.name_of, self.classes)
