"""What the commands of `selfsyn labels` share: the label store of a round, its images and classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfsyn.errors import InputError

if TYPE_CHECKING:
    from export.formats.item import Classes
    from selfsyn.classes import ClassList
    from selfsyn.config import RunConfig
    from selfsyn.corrections import CorrectedStore
    from selfsyn.layout import Layout
    from selfsyn.pseudo_labels import LabelStore

round_option = click.option(
    "--round", "round_", type=click.IntRange(1), help="The round that trains on the labels. Default: the last round with labels."
)
format_option = click.option(
    "--as",
    "kind",
    required=True,
    type=click.Choice(["datumaro", "cvat", "label-studio", "fiftyone", "coco", "cityscapes"]),
    help="The format of the tool.",
)


def opened_store(layout: Layout, config: RunConfig, round_: int | None) -> tuple[int, CorrectedStore]:
    """The round, by default the last one with labels, and its label store with corrections. NotReadyError without labels."""
    from selfsyn.corrections import corrected_store
    from selfsyn.errors import NotReadyError

    round_ = layout.last_round("labels") if round_ is None else round_
    if round_ is None:
        raise NotReadyError(f"{layout.root}: no label store; run `selfsyn pseudo-label --round 1` first")
    return round_, corrected_store(layout, round_, config.class_list)


def classes_of(classes: ClassList) -> Classes:
    """The classes of the run's labels."""
    import numpy as np

    from export.formats.item import Classes

    return Classes(classes.names, np.array(classes.colours, dtype=np.uint8))


def image_files(layout: Layout, config: RunConfig, names: Iterable[str]) -> dict[str, Path]:
    """{name: image file} of labelled images. InputError for an image that is no longer in the data set."""
    from selfsyn.data.sources import listed_real

    found = {frame.name: frame.image for frame in listed_real(layout, config)[0]}
    refuse_missing(layout, found, names)
    return found


def refuse_missing(layout: Layout, images: Mapping[str, Path], names: Iterable[str]) -> None:
    """InputError for a name without an image file."""
    for name in names:
        if name not in images:
            raise InputError(
                f"{layout.configuration}: found no real image {name!r}; the labels were made from it, so put it back"
            )


def name_of(image: str, store: LabelStore, images: Mapping[str, Path]) -> str:
    """The name in the store of an image that is given by name or path.

    images: the image file of each name.  A path may begin at any folder. InputError, with names, for none or several.
    """
    import difflib

    if image in store.names or image in store.skipped:
        return image
    given, known = Path(image), {*store.names, *store.skipped}
    found = [name for name, path in images.items() if name in known and path.parts[-len(given.parts) :] == given.parts]
    exact = [name for name in found if given.exists() and images[name].resolve() == given.resolve()]
    found = exact or found
    if len(found) > 1:
        raise InputError(f"{store.folder}: {image!r} may be {' or '.join(map(repr, found[:2]))}; expected one of these names")
    if not found:
        nearest = difflib.get_close_matches(Path(image).stem, [*store.names, *store.skipped], n=1, cutoff=0.0)
        raise InputError(f"{store.folder}: no image {image!r}; the nearest name is {nearest[0]!r}")
    return found[0]
