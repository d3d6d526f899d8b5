"""Facts about the files of a data set: sizes, class shares, and every file that would stop a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.contents import Contents
from selfsyn.data.dataset import DataSet
from selfsyn.data.frames import TURN_IT, TURNED
from selfsyn.data.sample import evenly_spaced
from selfsyn.doctor.ends import Ends, ends_of, same_files
from selfsyn.doctor.findings import Finding, of_files
from selfsyn.doctor.listing import Listing
from selfsyn.doctor.pixels import MASK_COLOURS, Pixels, pixels_of, shares, smallest, strange_ids, without_class
from selfsyn.images import as_read
from selfsyn.progress import track

HELD_OUT = "held_out"  # Finding.where of images that are in real too
SIZE = "size"  # Finding.where of pictures of another shape than run.toml's size
SQUEEZED = 1.5  # times; GTA5 and Cityscapes differ by 1.1, KITTI and Cityscapes by 1.7
SPREAD = 500  # frames of a data set whose pixels are read, unless all are
COPY_AGAIN = "copy them again or remove the frames"


@dataclass(frozen=True)
class Facts:
    """A data set in figures.

    labelled: whether its labels were checked.  labels: number of images with a label.  to_come: frames not yet rendered.
    sizes: number of images of each 'WIDTHxHEIGHT'.  image_bytes: of all image files.  looked_at: frames whose pixels were
    read.  shares: of the labels' pixels, 0..1 by class name and 'ignore'.
    """

    where: str
    layout: str
    root: str
    labelled: bool
    images: int = 0
    labels: int = 0
    to_come: int = 0
    image_bytes: int = 0
    looked_at: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Looked:
    """A checked data set. ends: of its images, by frame name."""

    facts: Facts
    findings: tuple[Finding, ...]
    ends: Mapping[str, Ends]


def looked_at(listing: Listing, *, everything: bool, contents: Contents) -> Looked:
    """Digest every file, read its ends, and read the pixels of every frame or of a sample."""
    where = listing.role.where
    images = _ends(listing.images, label=f"{where}: images", contents=contents)
    labels = _ends({name: label for name, (_, label) in listing.pairs.items()}, label=f"{where}: labels", contents=contents)
    findings = (
        _unreadable(where, [*images.values(), *labels.values()]) + _mis_sized(listing, images, labels) + _copies(where, images)
    )
    sound = {name: file for name, file in images.items() if not file.fault}
    counted = list(sound) if everything else evenly_spaced(list(sound), count=SPREAD)
    chosen = counted if everything else sorted({*counted, *smallest(sound)})
    pixels = _pixels(listing, chosen, labels)
    findings += _of_pixels(listing, pixels, images, labels, share=len(pixels) / max(1, len(sound)))
    # The smallest files are checked, but they are not a fair sample: they do not count.
    fair = set(counted)
    counts = sum((frame.counts for frame in pixels if frame.name in fair), np.zeros(256, np.int64))
    findings += _of_classes(where, listing.kind, counts) if counts.any() else []
    return Looked(_facts(listing, sound, counts, looked_at=len(pixels)), tuple(findings), images)


def shared(real: Sequence[Looked], held_out: Sequence[Looked]) -> list[Finding]:
    """Held-out images that training reads too, by content, whatever their names: their scores would be invalid."""
    seen = {file.path for data_set in real for file in data_set.ends.values()}
    scored = {file.path for data_set in held_out for file in data_set.ends.values()}
    groups = same_files(file for data_set in (*real, *held_out) for file in data_set.ends.values())
    both = [group for group in groups if any(file.path in seen for file in group)]
    paths = sorted({file.path for group in both for file in group if file.path in scored})
    remedy = "scores on training images are invalid; change a split or remove the images"
    return of_files(HELD_OUT, "images that are in real too", paths, remedy=remedy)


def of_aspects(data_sets: Sequence[Facts], *, size: tuple[int, int]) -> list[Finding]:
    """The finding of pictures that the run's size (width, height) squeezes; a fault if the size turned around would fit them all.

    The most frequent size stands for a data set.
    """
    shapes = {facts.where: next(iter(facts.sizes)).split("x") for facts in data_sets if facts.sizes}
    aspects = {where: int(width) / int(height) for where, (width, height) in shapes.items()}
    squeezes = {where: squeeze for where, aspect in aspects.items() if (squeeze := _times(aspect, size[0] / size[1])) > SQUEEZED}
    if not squeezes:
        return []
    turned = all(_times(aspect, size[1] / size[0]) <= SQUEEZED for aspect in aspects.values())
    told = ", ".join(f"those of {where} {squeeze:.1f} times" for where, squeeze in squeezes.items())
    remedy = f"did you mean [{size[1]}, {size[0]}]?" if turned else "choose a size of their shape, or crop them before"
    return [Finding(SIZE, f"{size[0]}x{size[1]} (width, height) squeezes the pictures: {told}", remedy, stops=turned)]


def _times(first: float, second: float) -> float:
    return max(first / second, second / first)


def _ends(paths: Mapping[str, Path], *, label: str, contents: Contents) -> dict[str, Ends]:
    found = track(ends_of(list(paths.values()), contents=contents), total=len(paths), label=label)
    return dict(zip(paths, found, strict=True))


def _pixels(listing: Listing, names: Sequence[str], labels: Mapping[str, Ends]) -> list[Pixels]:
    sound = {name: file.path for name, file in labels.items() if not file.fault}
    frames = {name: (listing.images[name], sound.get(name)) for name in names}
    return list(track(pixels_of(frames, kind=listing.kind), total=len(frames), label=f"{listing.role.where}: pixels"))


def _of_classes(where: str, kind: DataSet, counts: NDArray[np.int64]) -> list[Finding]:
    """Notes: the classes that only the run has, and those that only the data set has, with their share of (256,) pixels by id."""
    reached = {kind.classes.class_of(name) for name in kind.name_of.values()}
    lacking = [name for name in kind.classes.names if name not in reached]
    what = f"lacks {len(lacking)} of the {len(kind.classes)} classes: {', '.join(lacking)}"
    notes = [Finding(where, what, stops=False)] if lacking else []
    pixels: Counter[str] = Counter()
    for label_id, name in kind.name_of.items():
        if counts[label_id] and not kind.classes.covers(name):
            pixels[name] += int(counts[label_id])
    if pixels:
        named = ", ".join(f"{name} ({100 * count / counts.sum():.2f} % of pixels)" for name, count in pixels.most_common())
        what = f"has names that the run's classes do not cover: {named}; those pixels are ignored"
        notes.append(Finding(where, what, "give them a class in classes.merge, or `ignore`", stops=False))
    return notes


def _facts(listing: Listing, sound: Mapping[str, Ends], counts: NDArray[np.int64], *, looked_at: int) -> Facts:
    sizes = Counter(file.size for file in sound.values())
    return Facts(
        where=listing.role.where,
        layout=listing.role.folder.layout,
        root=str(listing.root),
        labelled=listing.role.labelled,
        images=len(listing.images),
        labels=len(listing.pairs),
        to_come=listing.to_come,
        image_bytes=sum(file.length for file in sound.values()),
        looked_at=looked_at,
        sizes={f"{width}x{height}": count for (width, height), count in sizes.most_common()},
        shares=shares(counts, kind=listing.kind),
    )


def _unreadable(where: str, files: Iterable[Ends]) -> list[Finding]:
    by_fault: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        if file.fault:
            by_fault[file.fault].append(file.path)
    return _refused(where, by_fault)


def _refused(where: str, by_reason: Mapping[str, Sequence[Path]], *, share: float = 1.0) -> list[Finding]:
    """share: of the files that were read. A reason that says what was expected ends with its own remedy."""
    parts = (
        (reason.rpartition("; ") if "; expected " in reason else (reason, "", COPY_AGAIN), paths)
        for reason, paths in by_reason.items()
    )
    named = (of_files(where, f"unreadable files ({what})", paths, remedy=remedy) for (what, _, remedy), paths in parts)
    return [replace(finding, unreadable=len(finding.paths) / share) for findings in named for finding in findings]


def _mis_sized(listing: Listing, images: Mapping[str, Ends], labels: Mapping[str, Ends]) -> list[Finding]:
    where, published = listing.role.where, listing.kind.mis_sized
    sound = [name for name, label in labels.items() if not label.fault and not images[name].fault]
    read = {name: as_read(images[name].size, images[name].orientation, label=labels[name].size) for name in sound}
    turned = [images[name].path for name, size in read.items() if size is None]
    differing = [name for name, size in read.items() if size not in (None, labels[name].size)]
    ours = [name for name in differing if name not in published]
    example = f" ({_size(labels[ours[0]])}, the image {_size(images[ours[0]])})" if ours else ""
    what = f"labels of another size than their image{example}"
    faults = of_files(where, what, [labels[name].path for name in ours], remedy="remove the frames")
    faults += of_files(where, f"images {TURNED}", turned, remedy=TURN_IT)
    left_out = [labels[name].path for name in differing if name in published]
    what = "frames that were published with labels of another size are left out"
    return faults + of_files(where, what, left_out, remedy="", stops=False)


def _size(file: Ends) -> str:
    return f"{file.size[0]}x{file.size[1]}"


def _copies(where: str, images: Mapping[str, Ends]) -> list[Finding]:
    groups = same_files(images.values())
    copies = [file.path for group in groups for file in group[1:]]
    remedy = f"the first is a copy of {groups[0][0].path}; training draws each copy like another image" if groups else ""
    return of_files(where, "images that are copies of another, byte for byte", copies, remedy=remedy, stops=False)


def _of_pixels(
    listing: Listing, pixels: Sequence[Pixels], images: Mapping[str, Ends], labels: Mapping[str, Ends], *, share: float
) -> list[Finding]:
    where, kind = listing.role.where, listing.kind
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for path, reason in (broken for frame in pixels for broken in frame.unreadable):
        by_reason[reason].append(path)
    constant = [images[frame.name].path for frame in pixels if frame.constant]
    remedy = "remove the frames: nothing can be learned from them"
    findings = _refused(where, by_reason, share=share)
    findings += of_files(where, "constant images (one colour throughout)", constant, remedy=remedy)
    masks = [images[frame.name].path for frame in pixels if frame.mask]
    remedy = f"are they labels beside the photos? images have at most {MASK_COLOURS} colours only if they are drawn"
    findings += of_files(where, "images with as few colours as a label", masks, remedy=remedy, stops=False)
    return findings + (_of_ids(listing, pixels, labels) if kind.known else [])


def _of_ids(listing: Listing, pixels: Sequence[Pixels], labels: Mapping[str, Ends]) -> list[Finding]:
    where, kind = listing.role.where, listing.kind
    strange = {frame.name: ids for frame in pixels if (ids := strange_ids(frame.counts, known=kind.known))}
    named = ", ".join(str(id_) for id_ in sorted({id_ for ids in strange.values() for id_ in ids}))
    remedy = "give the ids a class with `ids` in run.toml, or repair the labels; or is it another data set?"
    what = f"labels with ids outside the table (ids {named})"
    findings = of_files(where, what, [labels[name].path for name in strange], remedy=remedy)
    empty = [labels[frame.name].path for frame in pixels if without_class(frame.counts, table=kind.table)]
    counted = [frame for frame in pixels if frame.counts.any()]
    what = "labels in which no pixel has a class"
    remedy = "nothing can be learned from them" + ("; are they another data set's?" if len(empty) == len(counted) else "")
    return findings + of_files(where, what, empty, remedy=remedy, stops=len(empty) == len(counted))
