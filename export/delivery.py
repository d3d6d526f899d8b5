"""Labels for a labelling tool: a folder in its format, made in parallel and image by image. Never imports torch.

An interrupted delivery goes on where it stopped: a journal in the folder holds what is done, in order. The same order gives the
same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from export.formats import FORMATS
from export.formats.item import DONE, Classes, Labelled, Pieces, Row
from selfsyn import journal
from selfsyn.ahead import ahead
from selfsyn.cores import usable_cores
from selfsyn.errors import InputError, NotReadyError
from selfsyn.files import TEMPORARY, read_json, remove_temporaries, stream_atomic, write_atomic, write_json
from selfsyn.images import resize_label, upright_size

JOURNAL: Final = ".journal.jsonl"
GROUP: Final = 64  # images
Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Order:
    """What to deliver. kind: a name in FORMATS.  names: the images, in the order of the folder.  images: their files.

    read: name -> (H, W) train ids with IGNORE, and (H, W) confidences 0..255.  model: the teacher's digest.
    about: what else decides the bytes; another order is not continued in the same folder.
    """

    kind: str
    classes: Classes
    names: Sequence[str]
    images: Mapping[str, Path]
    read: Callable[[str], Maps]
    model: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The order as JSON."""
        colours = {name: self.classes.hex(train_id) for train_id, name in enumerate(self.classes.names)}
        return {"format": self.kind, "images": len(self.names), "model": self.model, **self.about, "classes": colours}


def is_delivered(order: Order, to: Path) -> bool:
    """Whether the folder holds this order already. InputError when it holds something else."""
    done, begun = to / DONE, to / JOURNAL
    if not to.exists() or all(path.name.startswith(TEMPORARY) for path in to.iterdir()):
        return False
    if not (done.exists() or begun.exists()):
        raise InputError(f"{to}: holds other files; expected an empty folder or a new one; choose another with --to")
    before = read_json(done) or journal.head_of(begun)
    changed = [key for key in order.settings if before and before.get(key) != order.settings[key]]
    if changed:
        raise InputError(
            f"{to}: holds an export with other options ({', '.join(changed)} differ); choose another folder with --to"
        )
    return done.exists()


def deliver(order: Order, to: Path, *, workers: int | None = None) -> Iterator[str]:
    """Write the folder `to`, and yield the name of each image when it is written; call is_delivered first.

    workers: threads; default: the cores.  InputError for classes that the format cannot tell apart.
    """
    kind = FORMATS[order.kind]
    if kind.COLOURED:
        order.classes.refuse_alike()
    stems = _stems(order)
    to.mkdir(parents=True, exist_ok=True)
    remove_temporaries(to)
    finished = journal.begun(to / JOURNAL, order.settings)
    yield from islice(order.names, finished)
    threads = workers or usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        left = order.names[finished:]
        rows = ahead(lambda name: _written(name, order, stems, to), left, threads=pool, most=2 * threads)
        yield from _recorded(zip(left, rows, strict=True), to / JOURNAL)
    for path, texts in kind.closing(lambda: journal.rows_of(to / JOURNAL), order.classes):
        with stream_atomic(to / path) as closing:
            closing.writelines(text.encode() for text in texts)
    write_json(to / DONE, order.settings)
    (to / JOURNAL).unlink()


def _recorded(rows: Iterator[tuple[str, Row]], path: Path) -> Iterator[str]:
    """Add (name, row) to the journal, and yield the names. A row is written when the files of its image are on the disk.

    The disk is asked once for a group: asking for every file takes longer than making them.
    """
    waiting: list[str] = []
    with open(path, "a") as stream:
        try:
            for name, row in rows:
                waiting.append(json.dumps(row) + "\n")
                yield name
                if len(waiting) == GROUP:
                    _settle(waiting, stream)
        finally:
            _settle(waiting, stream)


def _settle(waiting: list[str], stream: TextIO) -> None:
    os.sync()
    stream.writelines(waiting)
    stream.flush()
    waiting.clear()


def _written(name: str, order: Order, stems: Mapping[str, str], to: Path) -> Row:
    made = FORMATS[order.kind].pieces(_item(name, order, stems[name]), order.classes)
    _write(made, to)
    return made.row


def _item(name: str, order: Order, stem: str) -> Labelled:
    """The labels of an image at the size of its file: tools refuse a mask of another size."""
    image = order.images[name]
    label, confidence = order.read(name)
    size = upright_size(image)
    return Labelled(name, image, stem, resize_label(label, size=size), resize_label(confidence, size=size), order.model)


def _write(made: Pieces, to: Path) -> None:
    for place, data in made.files.items():
        write_atomic(to / place, data, lasting=False)
    for place, target in made.links.items():
        _link(to / place, target.resolve())


def _link(link: Path, target: Path) -> None:
    """A hard link, since Datumaro refuses symbolic links that leave the folder; a symbolic one on another file system."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(target)
    except OSError:  # another file system, or a file of another user
        link.symlink_to(target)


def _stems(order: Order) -> dict[str, str]:
    """{name: the stem of its image file}; where two files have one stem, as many folders before it as tell all files apart."""
    missing = [name for name in order.names if name not in order.images]
    if missing:
        raise NotReadyError(f"{len(missing)} labelled images are not in the data set, first {missing[0]!r}; put the files back")
    parts = {name: order.images[name].with_suffix("").parts for name in order.names}
    depth = 1
    while len({given[-depth:] for given in parts.values()}) < len(parts) and depth < max(map(len, parts.values())):
        depth += 1
    return {name: "/".join(given[-depth:]) for name, given in parts.items()}
