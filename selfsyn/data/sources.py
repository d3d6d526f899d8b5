"""The data sets of a run, by role. Real images come without labels, except from `oracle` and `held_out`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from selfsyn import corrections
from selfsyn.classes import ClassList
from selfsyn.config import DataFolder, RunConfig, Source
from selfsyn.contents import Contents, combined, recorded
from selfsyn.data.frames import Frame, LabelledFrame, complete, files_of, labelled, labelled_listing, listing, say_passed_over
from selfsyn.data.mixing import prefix
from selfsyn.errors import InputError
from selfsyn.flow import Phase
from selfsyn.layout import Layout
from selfsyn.stage import SOURCE_ONLY
from selfsyn.verbs import HELD_OUT, REAL, REAL_WITH_LABELS, SYNTHETIC

F = TypeVar("F", bound=Frame)
CORRECTIONS = "corrections"


def of_phase(config: RunConfig, phase: Phase) -> tuple[str, ...]:
    """The data sets that a phase reads, by their names in manifests."""
    stage, rounds = phase.stage, config.rounds
    if phase.verb != "train" or stage is None:
        return phase.facts.reads
    if stage.is_bound:
        return (SYNTHETIC,) if stage == SOURCE_ONLY else (REAL_WITH_LABELS,)
    has_statistics = rounds.adabn_share and config.task_of(stage).architecture != "vit"
    looked_at = stage.round or config.looks_at_real or rounds.color_transfer or has_statistics
    return (*[SYNTHETIC] * (not rounds.adapted), *[REAL] * bool(looked_at))


def digests(layout: Layout, config: RunConfig, names: Iterable[str]) -> dict[str, str]:
    """{name of a data set: digest of its files}, equal to the digests of the functions below. Reads contents that are new or
    changed; see selfsyn.contents.

    InputError when a data set has no images, or an image has no label.
    """
    return {name: _digest(layout, config, name) for name in names}


def digests_of(layout: Layout, config: RunConfig, phase: Phase) -> dict[str, str]:
    """The digests of the data sets that a phase reads, and of the corrections that a round trains with, if there are any."""
    found = digests(layout, config, of_phase(config, phase))
    round_ = phase.stage.round if phase.verb == "train" and phase.stage is not None else None
    return found | (correction_digests(layout, round_) if round_ else {})


def correction_digests(layout: Layout, round_: int) -> dict[str, str]:
    """{"corrections": digest} of the masks of people that a round trains with; empty without any."""
    found = corrections.digest(layout, round_)
    return {CORRECTIONS: found} if found else {}


def _digest(layout: Layout, config: RunConfig, name: str) -> str:
    if name == HELD_OUT:
        return _of_held_out(layout, config, labelled_listing)[1]
    if name == REAL:
        return listed_real(layout, config)[1]
    some, read = config.synthetic if name == SYNTHETIC else config.real, labelled_listing
    return _all(layout, some, partial(labelled_frames, classes=config.class_list, read=read))[1]


def synthetic(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The labelled synthetic frames, source after source, and the digest of their files."""
    return _all(layout, config.synthetic, partial(labelled_frames, classes=config.class_list))


def real(layout: Layout, config: RunConfig) -> tuple[list[Frame], str]:
    """The real images without labels, source after source, and the digest of their files.

    Truncated images are left out, up to the limit in run.toml; InputError beyond it.
    """
    frames, digest = listed_real(layout, config)
    for source in config.real:
        say_passed_over(layout.resolve(source.root), layout=source.layout, split=source.split)
    return complete(frames, spoiled=config.teacher.spoiled_of(len(frames))), digest


def listed_real(layout: Layout, config: RunConfig) -> tuple[list[Frame], str]:
    """As `real`, but without opening files, so truncated images are included."""
    return _all(layout, config.real, listed_frames)


def oracle(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The real training images with their labels: only for the oracle, which is an upper bound, not a result."""
    return _all(layout, config.real, partial(labelled_frames, classes=config.class_list))


def listed_frames(layout: Layout, folder: DataFolder) -> list[Frame]:
    """The images of one data set of the configuration, not opened."""
    return listing(layout.resolve(folder.root), layout=folder.layout, split=folder.split, files=_files(layout, folder))


def labelled_frames(
    layout: Layout, folder: DataFolder, *, classes: ClassList, read: Callable[..., list[LabelledFrame]] = labelled
) -> list[LabelledFrame]:
    """The images and labels of one data set of the configuration, for the classes of the run.

    read: `labelled` or `labelled_listing`.
    """
    root, files = layout.resolve(folder.root), _files(layout, folder)
    how = {"ids": folder.ids, "colours": folder.colours, "classes": classes}
    return read(root, layout=folder.layout, split=folder.split, files=files, **how)


def _files(layout: Layout, folder: DataFolder) -> Path | None:
    return layout.resolve(folder.files) if folder.files else None


def _all(layout: Layout, sources: tuple[Source, ...], read: Callable[[Layout, DataFolder], list[F]]) -> tuple[list[F], str]:
    frames: list[F] = []
    digests, contents = [], Contents(layout.inputs)
    for source in sources:
        found = read(layout, source)
        digests.append(recorded(files_of(found), root=layout.resolve(source.root), contents=contents))
        frames += [replace(frame, name=prefix(source, sources) + frame.name) for frame in found]
    return frames, combined(digests, contents=contents)


def held_out(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The labelled real images that `evaluate` reads. InputError without held_out, or when it shares images with real."""
    frames, digest = _of_held_out(layout, config, labelled)
    _refuse_overlap(layout, config, frames)
    return frames, digest


def _of_held_out(layout: Layout, config: RunConfig, read: Callable[..., list[LabelledFrame]]) -> tuple[list[LabelledFrame], str]:
    if config.held_out is None:
        raise InputError(f"{layout.configuration}: no held_out data set; evaluation needs one (layout, root, split)")
    frames = labelled_frames(layout, config.held_out, classes=config.class_list, read=read)
    root = layout.resolve(config.held_out.root)
    return frames, recorded(files_of(frames), root=root, contents=Contents(layout.inputs))


def _refuse_overlap(layout: Layout, config: RunConfig, frames: list[LabelledFrame]) -> None:
    training = {frame.image.resolve() for frame in listed_real(layout, config)[0]}
    for frame in frames:
        if frame.image.resolve() in training:
            raise InputError(f"{frame.image}: in real and in held_out; scores on training images are invalid; change a split")


def check(layout: Layout, config: RunConfig) -> None:
    """InputError for a mistake in the user's data or weights, before training starts. Rendered frames are not checked."""
    for net in config.nets:
        net.weights_file(layout.root)
    own = {role: tuple(f for f in getattr(config, role) if not config.renders(f)) for role in ("synthetic", "real")}
    if own["synthetic"]:
        synthetic(layout, replace(config, synthetic=own["synthetic"]))
    if own["real"]:
        real(layout, replace(config, real=own["real"]))
    if config.held_out is not None and not config.renders(config.held_out):
        held_out(layout, replace(config, real=own["real"]))
