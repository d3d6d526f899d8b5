"""`selfsyn labels import`: takes masks back that people have corrected in a labelling tool. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from jobs.labels.opened import classes_of, format_option, image_files, name_of, round_option
from jobs.options import FOLDER, dry_run_option, run_option
from selfsyn.errors import InputError
from selfsyn.manifest import read_manifest
from selfsyn.stage import round_stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from export.formats.item import Mask
    from selfsyn.corrections import CorrectedStore, Correction

UPLOADED: Final = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


@dataclass(frozen=True)
class Returned:
    """A mask that came back. changed: pixels with another class than before."""

    name: str
    mask: NDArray[np.uint8]
    changed: int


@click.command("import")
@run_option
@round_option
@click.option(
    "--from",
    "folder",
    type=FOLDER,
    required=True,
    help="The folder that the tool exported, unpacked.",
)
@format_option
@click.option(
    "--confirmed", is_flag=True, help="A person has looked at all masks: take those without another class than before as well."
)
@dry_run_option
def import_(root: Path, round_: int | None, folder: Path, kind: str, *, confirmed: bool, dry_run: bool) -> None:
    """Take masks back that people have corrected in a labelling tool.

    A mask that gives a pixel another class replaces the labels of its image, in this round and later ones: training counts its
    pixels as ground truth and ignores pixels that have no class in it. The label store does not change; masks go to
    round-K/corrections/, with their origin. Masks without another class are left out.
    """
    from jobs.labels.opened import opened_store
    from selfsyn.ahead import on_all_cores
    from selfsyn.corrections import write_index
    from selfsyn.phase import open_run
    from selfsyn.progress import say

    layout, config = open_run(root)
    round_, store = opened_store(layout, config, round_)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected what the tool exported, unpacked")
    images = image_files(layout, config, ())
    masks = _named(folder, kind, store, images)
    target, rows, pixels = layout.corrections(round_), {}, 0
    returned = on_all_cores(lambda pair: _compared(*pair, store, images), masks.items())
    for one in (one for one in returned if one.changed or confirmed):
        rows[one.name] = _kept(one, target if not dry_run else None, store, folder, kind)
        pixels += rows[one.name].pixels
    if rows and not dry_run:
        write_index(target, rows)
    left = f"; left out {len(masks) - len(rows)} without another class than before" if len(masks) > len(rows) else ""
    to = f"would go to {target}" if dry_run else f"in {target}"
    say(f"labels import: {len(rows)} corrected images, {pixels:,} pixels, {to}{left}")
    if rows and read_manifest(layout.task(round_stage(round_))) is not None:
        say(f"round {round_} was trained without them: run `selfsyn train --round {round_} --force`, or train the next round")


def _named(folder: Path, kind: str, store: CorrectedStore, images: Mapping[str, Path]) -> dict[str, Mask]:
    """{image of the store: function that reads its mask}. InputError for a mask of no image, or two of one image."""
    from export.formats import FORMATS

    names, found = _aliases(store, images), {}
    for given, read in FORMATS[kind].masks(folder, classes_of(store.classes)):
        short = given if given in names else UPLOADED.sub("", Path(given).name)
        name = names[short] if short in names else name_of(short, store, images)
        if name in found:
            raise InputError(f"{folder}: two masks of image {name!r}; remove one, or import them one after the other")
        found[name] = read
    if not found:
        raise InputError(f"{folder}: no mask; expected the export of {kind} (docs/labels.md says how)")
    return found


def _aliases(store: CorrectedStore, images: Mapping[str, Path]) -> dict[str, str]:
    """{name, or path of the image file without suffix from any folder on: name}, as far as it is unique."""
    found: dict[str, str | None] = {}
    for row in store.rows():
        if "skipped" not in row:
            path = images.get(row["name"], Path(row["image"])).with_suffix("")
            for alias in {"/".join(path.parts[-depth:]) for depth in range(1, len(path.parts) + 1)}:
                found[alias] = None if alias in found else row["name"]
    return {alias: name for alias, name in found.items() if name is not None} | {name: name for name in store.names}


def _compared(name: str, read: Mask, store: CorrectedStore, images: Mapping[str, Path]) -> Returned:
    """Read a mask and compare it with the labels that count now. InputError for a mask of another size."""
    import numpy as np

    from selfsyn.images import resize_label, upright_size
    from selfsyn.labels import IGNORE

    mask, before = read(), store.maps(name)[0]
    size = (mask.shape[1], mask.shape[0])
    expected = {upright_size(images[name]), (before.shape[1], before.shape[0])} if name in images else {size}
    if size not in expected:
        sizes = " or ".join("{}x{}".format(*one) for one in sorted(expected, reverse=True))
        raise InputError(f"the mask of {name!r} is {size[0]}x{size[1]}; expected {sizes}, the size of its image; export it again")
    different = mask != resize_label(before, size=size)
    if name not in store.corrections:
        different &= mask != IGNORE  # the export may have left out what is not confident
    return Returned(name, mask, int(np.count_nonzero(different)))


def _kept(one: Returned, target: Path | None, store: CorrectedStore, folder: Path, kind: str) -> Correction:
    """Write the mask, unless `target` is None, -> its row."""
    import numpy as np

    from selfsyn.corrections import Correction, write_mask
    from selfsyn.labels import IGNORE

    mask, digest = write_mask(target, one.name, one.mask, store.classes) if target else ("", "")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    pixels = int(np.count_nonzero(one.mask != IGNORE))
    return Correction(mask, digest, pixels, one.changed, kind, str(folder.resolve()), now, store.teacher)
