"""Frames of a data set: images from `listing`, images with labels from `labelled`.

Training lists the images of a real data set, and so cannot see its labels. Never imports torch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, ClassList, parsed_colour
from selfsyn.config import DataFolder
from selfsyn.data.acdc import ACDC
from selfsyn.data.adapted import ADAPTED
from selfsyn.data.bdd100k import BDD100K
from selfsyn.data.camvid import CAMVID
from selfsyn.data.carla import CARLA_NEW, CARLA_OLD, NEW_LAYOUT, OLD_LAYOUT
from selfsyn.data.cityscapes import CITYSCAPES
from selfsyn.data.dataset import DataSet, Sample, nothing_to_verify
from selfsyn.data.encodings import refuse_other_encoding
from selfsyn.data.gta5 import GTA5
from selfsyn.data.idd import IDD, IDD_LITE
from selfsyn.data.kitti import KITTI, KITTI_RAW
from selfsyn.data.passed_over import passed_over, words
from selfsyn.data.plain import PLAIN
from selfsyn.data.synscapes import SYNSCAPES
from selfsyn.data.synthia_rand import SYNTHIA_RAND
from selfsyn.data.synthia_sf import SYNTHIA_SF
from selfsyn.data.urbansyn import URBANSYN
from selfsyn.errors import InputError
from selfsyn.files import read_text
from selfsyn.images import TRUNCATED, as_read, decodes, fault_of, geometry, image_size, read_colours, read_ends, to_train_ids
from selfsyn.progress import say

LAYOUTS = {
    "gta5": GTA5,
    "synthia-rand-cityscapes": SYNTHIA_RAND,
    "synthia-sf": SYNTHIA_SF,
    "urbansyn": URBANSYN,
    "synscapes": SYNSCAPES,
    OLD_LAYOUT: CARLA_OLD,
    NEW_LAYOUT: CARLA_NEW,
    "carla-0.9.12": CARLA_NEW,  # the name of that layout in earlier run.toml files
    "cityscapes": CITYSCAPES,
    "acdc": ACDC,
    "bdd100k": BDD100K,
    "idd": IDD,
    "idd-lite": IDD_LITE,
    "kitti": KITTI,
    "kitti-raw": KITTI_RAW,
    "camvid": CAMVID,
    "plain": PLAIN,
    "adapted": ADAPTED,
}
TURNED = "turned by EXIF, with a label that may be drawn on the pixels as they are stored"
TURN_IT = "expected images without EXIF orientation; turn the pixels as the label shows them and remove the tag"
VERIFIED = 6  # labels of a data set that `verify` checks


@dataclass(frozen=True, slots=True)
class Frame:
    """An image of a data set. name: unique in the data set."""

    name: str
    image: Path


@dataclass(frozen=True, slots=True)
class LabelledFrame(Frame):
    """An image with its label file, and the layout that defines the file's ids."""

    label: Path
    dataset: DataSet

    def read_label(self) -> NDArray[np.uint8]:
        """-> (H, W) uint8 train ids. InputError for an unreadable file or an id that the data set does not define."""
        return to_train_ids(self.dataset.read(self.label), table=self.dataset.table, known=self.dataset.known, path=self.label)


def layout_named(name: str) -> DataSet:
    """The layout: where images and labels are. For the meaning of labels see `dataset`. InputError for an unknown name."""
    if name not in LAYOUTS:
        raise InputError(unknown_layout(name))
    return LAYOUTS[name]


def unknown_layout(name: str) -> str:
    """What is wrong with a name that is not in LAYOUTS."""
    return f"layout {name!r} is not known; expected one of {', '.join(LAYOUTS)}"


def dataset(
    layout: str,
    *,
    ids: Mapping[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    classes: ClassList = CITYSCAPES_19,
) -> DataSet:
    """The layout named `layout` for a run with these classes. InputError for an unknown name.

    ids: names of single ids, which override the layout's, {"20": "road"}.  colours: names of the colours of labels that are
    pictures in colours, {"#804080": "road"}; then the ids of the layout mean nothing.
    """
    kind = replace(layout_named(layout), classes=classes)
    if colours:
        names = dict(enumerate(dict.fromkeys(colours.values())))
        place = {name: label_id for label_id, name in names.items()}
        read = partial(read_colours, ids=tuple((parsed_colour(text), place[name]) for text, name in colours.items()))
        return replace(kind, names=names, read=read, verify=nothing_to_verify)
    return replace(kind, names={**kind.name_of, **{int(key): name for key, name in ids.items()}}) if ids else kind


def dataset_of(folder: DataFolder, classes: ClassList) -> DataSet:
    """The layout of a data set in run.toml, for a run with these classes."""
    return dataset(folder.layout, ids=folder.ids, colours=folder.colours, classes=classes)


def listing(root: Path, *, layout: str, split: str = "train", files: Path | None = None) -> list[Frame]:
    """The images of a data set, sorted by name, without known unusable ones. No image is opened.

    files: a text file with the names of the frames to use, one a line. InputError when there are none, or one is missing.
    """
    kind = layout_named(layout)
    found = kind.find_images(root, split)
    if not found:
        others = words(passed_over(kind, root, split=split))
        there = f"; the pictures there are no frames: {others}" if others else ""
        elsewhere = (
            {half: len(kind.find_images(root, half)) for half in kind.halves if half != split} if split in kind.halves else {}
        )
        if any(elsewhere.values()):
            there = (
                "; but " + ", ".join(f"{count} in split {half!r}" for half, count in elsewhere.items() if count) + "; set `split`"
            )
        raise InputError(f"{root}: no image of layout {layout} (split {split}); expected {kind.expects}{there}")
    taken = found if files is None else _listed(found, files)
    spoiled = sorted(taken.keys() & kind.unusable.keys())
    if spoiled:
        say(f"{root}: left out {', '.join(f'{name} ({kind.unusable[name]})' for name in spoiled)}")
    return [Frame(name, path) for name, path in sorted(taken.items()) if name not in kind.unusable]


def say_passed_over(root: Path, *, layout: str, split: str = "train") -> None:
    """Name the pictures among the images of a data set that are no frames of it, by reason; say nothing when there are none."""
    kind = layout_named(layout)
    others = words(passed_over(kind, root, split=split))
    if others:
        say(f"{root}: pictures that are no frames: {others}; expected {kind.expects}")


def labelled(
    root: Path,
    *,
    layout: str,
    split: str = "train",
    files: Path | None = None,
    ids: Mapping[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    classes: ClassList = CITYSCAPES_19,
) -> list[LabelledFrame]:
    """The images of a data set with their labels. Frames with a published label of another size are left out, with a message.

    ids, colours, classes: see `dataset`. InputError for an image without a label, a label of another size, an incomplete file,
    or labels of another layout.
    """
    kind = dataset(layout, ids=ids, colours=colours, classes=classes)
    pairs = _pairs(root, kind, layout=layout, split=split, files=files)
    say_passed_over(root, layout=layout, split=split)
    _refuse_incomplete([*(pair.image for pair in pairs), *(pair.label for pair in pairs)])
    pairs = _of_equal_sizes(pairs, root=root)
    verify([(pair.label, kind.read(pair.label)) for pair in pairs[:: max(1, len(pairs) // VERIFIED)][:VERIFIED]], kind=kind)
    return pairs


def verify(sample: Sample, *, kind: DataSet) -> None:
    """InputError when a few labels of a data set are of another layout, or drawn in other ids than its own."""
    kind.verify(sample)
    refuse_other_encoding(sample, kind)


def labelled_listing(
    root: Path,
    *,
    layout: str,
    split: str = "train",
    files: Path | None = None,
    ids: Mapping[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    classes: ClassList = CITYSCAPES_19,
) -> list[LabelledFrame]:
    """The frames of `labelled`, unchecked: opens only the files of frames whose published label may have another size."""
    kind = dataset(layout, ids=ids, colours=colours, classes=classes)
    pairs = _pairs(root, kind, layout=layout, split=split, files=files)
    doubtful = [pair for pair in pairs if pair.name in pair.dataset.mis_sized]
    out = {pair.name for pair in doubtful} - {pair.name for pair in _of_equal_sizes(doubtful, root=root)}
    return [pair for pair in pairs if pair.name not in out]


def _pairs(root: Path, kind: DataSet, *, layout: str, split: str, files: Path | None) -> list[LabelledFrame]:
    if split in kind.unlabelled:
        raise InputError(f"{root}: split {split!r} of layout {layout} has no usable labels; choose another split")
    if not kind.known:
        raise InputError(
            f'{root}: layout {layout!r} has no table of ids; set `ids`, for example ids = {{ "0" = "road" }}, or `colours`'
        )
    frames = listing(root, layout=layout, split=split, files=files)
    labels = kind.find_labels(root, split)
    without = [frame for frame in frames if frame.name not in labels]
    if without:
        raise InputError(
            f"{root}: {len(without)} of {len(frames)} images have no label, first {without[0].image};"
            f" expected {kind.expects}; add the labels or remove the images"
        )
    return [LabelledFrame(frame.name, frame.image, labels[frame.name], kind) for frame in frames]


def place(image: Path, roots: Sequence[Path]) -> str:
    """The image's path relative to its data set's folder, which is valid on other machines too."""
    return str(image.relative_to(next(root for root in roots if image.is_relative_to(root))))


def files_of(frames: Sequence[Frame]) -> list[Path]:
    """The images, then the labels of frames that have them."""
    return [frame.image for frame in frames] + [frame.label for frame in frames if isinstance(frame, LabelledFrame)]


def complete(frames: Sequence[Frame], *, spoiled: int) -> list[Frame]:
    """The frames whose image is complete on disk. InputError, naming the first, when more than `spoiled` are not."""
    faults = _faults([frame.image for frame in frames])
    lacking = [(frame.image, fault) for frame, fault in zip(frames, faults, strict=True) if fault]
    if len(lacking) > spoiled:
        raise _incomplete(*lacking[0], among=f"{len(lacking)} of {len(frames)} images, {spoiled} allowed: " if spoiled else "")
    if lacking:
        path, fault = lacking[0]
        say(f"left out {len(lacking)} of {len(frames)} images that are not complete, first {path} ({fault})")
    return [frame for frame, fault in zip(frames, faults, strict=True) if not fault]


def _refuse_incomplete(paths: Sequence[Path]) -> None:
    for path, fault in zip(paths, _faults(paths), strict=True):
        if fault:
            raise _incomplete(path, fault)


def _incomplete(path: Path, fault: str, *, among: str = "") -> InputError:
    whole = fault if "; expected " in fault else f"{fault}; expected a whole PNG or JPEG; copy the file again or remove the frame"
    reason, _, remedy = whole.rpartition("; ")
    return InputError(f"{path}: {reason}; {among}{remedy}")


def _faults(paths: Sequence[Path]) -> list[str]:
    """The fault of each file by its first and last bytes, or ''; no pixel is read."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_fault, paths))


def _fault(path: Path) -> str:
    try:
        head, tail, _ = read_ends(path)
        fault = fault_of(head, tail)
        return "" if fault == TRUNCATED and decodes(path) else fault
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _of_equal_sizes(pairs: Sequence[LabelledFrame], *, root: Path) -> list[LabelledFrame]:
    with ThreadPoolExecutor() as threads:
        sizes = list(threads.map(_sizes, pairs))
    differing = {pair.name for pair, (image, label) in zip(pairs, sizes, strict=True) if image != label}
    for pair, (image, label) in zip(pairs, sizes, strict=True):
        if pair.name in differing - pair.dataset.mis_sized:
            raise InputError(f"{pair.label}: {label[0]}x{label[1]}, but {pair.image} is {image[0]}x{image[1]}; remove the frame")
    if differing:
        say(f"{root}: left out {len(differing)} frames that were published with labels of another size, first {min(differing)}")
    return [pair for pair in pairs if pair.name not in differing]


def _sizes(pair: LabelledFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """The sizes of image and label as they are read. InputError where it is not told on which pixels the label was drawn."""
    (stored, orientation), label = geometry(pair.image), image_size(pair.label)
    size = as_read(stored, orientation, label=label)
    if size is None:
        raise InputError(f"{pair.image}: an image {TURNED} (EXIF orientation {orientation}, label {pair.label}); {TURN_IT}")
    return size, label


def names_in(files: Path) -> list[str]:
    """The frame names in a text file, one a line; see read_text. InputError when it cannot be read."""
    try:
        lines = unicodedata.normalize("NFC", read_text(files)).split("\n")
        return [line.strip() for line in lines if line.strip()]
    except OSError as error:
        raise InputError(f"{files}: cannot be read ({error}); expected names of frames in UTF-8, one a line") from error


def _listed(found: Mapping[str, Path], files: Path) -> dict[str, Path]:
    names = names_in(files)
    if not names:
        raise InputError(f"{files}: no name in it; expected names of frames, one a line, such as {next(iter(found))!r}")
    missing = [name for name in names if name not in found]
    if missing:
        what = f"{len(missing)} of {len(names)} names are not frames of the data set, first {missing[:1]}"
        raise InputError(f"{files}: {what}; a frame is {next(iter(found))!r}")
    return {name: found[name] for name in names}
