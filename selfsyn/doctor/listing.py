"""The files of each data set of a run, by name. No image is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from selfsyn.classes import ClassList
from selfsyn.config import DataFolder, RunConfig
from selfsyn.data.dataset import DataSet
from selfsyn.data.frames import VERIFIED, dataset_of, names_in, verify
from selfsyn.data.passed_over import passed_over, words
from selfsyn.data.plain import PLAIN
from selfsyn.data.plausible import doubt
from selfsyn.doctor.findings import Finding, of_files
from selfsyn.errors import InputError
from selfsyn.layout import Layout
from selfsyn.manifest import read_manifest


@dataclass(frozen=True)
class Role:
    """A data set's part in a run.

    where: its name in findings.  labelled: whether its labels are read; never for real sources.
    rendered: frames that `selfsyn world` makes for it.  classes: of the run.
    """

    where: str
    folder: DataFolder
    labelled: bool
    rendered: int
    classes: ClassList


@dataclass(frozen=True)
class Listing:
    """The files of a data set by frame name: the images that a run uses, and all labels.

    findings: faults of names and folders.  to_come: frames that are not rendered yet.
    """

    role: Role
    root: Path
    kind: DataSet = PLAIN
    images: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, Path] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    to_come: int = 0

    @cached_property
    def pairs(self) -> dict[str, tuple[Path, Path]]:
        """Image and label of each frame that has both, sorted by name."""
        return {name: (path, self.labels[name]) for name, path in sorted(self.images.items()) if name in self.labels}


def roles(config: RunConfig) -> list[Role]:
    """The data sets of a run in the order of run.toml."""
    world, held_out, classes = config.rendered, config.held_out, config.class_list
    rendered = {"engine": world.engine, "town": world.town}
    found = [Role(f"synthetic {s.called}", s, True, rendered.get(Path(s.root).name, 0), classes) for s in config.synthetic]
    found += [Role(f"real {source.called}", source, False, world.camera, classes) for source in config.real]
    return found + ([Role(f"held_out {held_out.layout}", held_out, True, world.held_out, classes)] if held_out else [])


def listed(layout: Layout, role: Role) -> Listing:
    """The files of a data set, and faults of their names. A world that is still to be rendered is not a fault."""
    root, folder = layout.resolve(role.folder.root), role.folder
    try:
        kind = dataset_of(folder, role.classes)
        if role.rendered and root.is_relative_to(layout.world.resolve()) and read_manifest(layout.world) is None:
            return Listing(role, root, kind, to_come=role.rendered)
        found = kind.find_images(root, folder.split)
        labels = kind.find_labels(root, folder.split) if role.labelled and folder.split not in kind.unlabelled else {}
        others = _in_halves(kind, root).keys() - found.keys()
        chosen, findings = _chosen(role, found, layout.resolve(folder.files) if folder.files else None, others=others)
    except InputError as error:
        return Listing(role, root, findings=(Finding(role.where, str(error)),))
    images = {name: path for name, path in sorted(chosen.items()) if name not in kind.unusable}
    findings += _of_images(role, root, kind, found, chosen)
    findings += _of_labels(role, root, kind, found, images, labels) if role.labelled and found else []
    return Listing(role, root, kind, images, labels, tuple(findings))


def _chosen(
    role: Role, found: Mapping[str, Path], files: Path | None, *, others: set[str]
) -> tuple[Mapping[str, Path], list[Finding]]:
    """The frames that the text file `files` names, or all; and a finding of unknown names. InputError if unreadable.

    others: frames of the splits that share the folder of this one.
    """
    if files is None or not found:
        return found, []
    names = names_in(files)
    missing = tuple(name for name in names if name not in found)
    chosen = {name: found[name] for name in names if name in found}
    if names and not missing:
        return chosen, []
    what = (
        f"{len(missing)} of {len(names)} names in {files} are not frames of the data set" if names else f"{files}: no name in it"
    )
    remedy = f"expected frame names, one a line, such as {next(iter(found))}"
    if elsewhere := len(others.intersection(missing)):
        what = f"{elsewhere} of {len(names)} names in {files} are frames of another split than {role.folder.split!r}"
        remedy = "choose another split, for example `all` where the layout has it, or name frames of this one"
    return chosen, [Finding(role.where, what, remedy, missing)]


def _of_images(role: Role, root: Path, kind: DataSet, found: Mapping[str, Path], chosen: Mapping[str, Path]) -> list[Finding]:
    if not root.is_dir():
        return [Finding(role.where, f"{root}: no such folder", "copy the data set there, or set its root in run.toml")]
    others = passed_over(kind, root, split=role.folder.split, found=found)
    if not found:
        there = f"; the pictures there are no frames: {words(others)}" if others else ""
        what = f"{root}: no image of layout {role.folder.layout} (split {role.folder.split}){there}"
        return [Finding(role.where, what, f"expected {kind.expects}")]
    spoiled = [name for name in sorted(chosen) if name in kind.unusable]
    what = f"published frames that are left out ({', '.join(f'{name}: {kind.unusable[name]}' for name in spoiled)})"
    left_out = of_files(role.where, what, [chosen[name] for name in spoiled], remedy="", stops=False)
    return left_out + [finding for reason, paths in others.items() for finding in _no_frames(role.where, kind, reason, paths)]


def _no_frames(where: str, kind: DataSet, reason: str, paths: Sequence[Path]) -> list[Finding]:
    remedy = f"expected {kind.expects}; bring them into that form if they are to count"
    return of_files(where, f"pictures that are no frames: {reason}", paths, remedy=remedy, stops=False)


def _of_labels(
    role: Role, root: Path, kind: DataSet, found: Mapping[str, Path], images: Mapping[str, Path], labels: Mapping[str, Path]
) -> list[Finding]:
    layout, split = role.folder.layout, role.folder.split
    if split in kind.unlabelled:
        return [Finding(role.where, f"{root}: split {split!r} has no usable labels", "choose another split")]
    without = [path for name, path in images.items() if name not in labels]
    remedy = f"add the labels or remove the images; expected {kind.expects}"
    findings = of_files(role.where, "images without a label", without, remedy=remedy)
    if not kind.known:
        remedy = 'set `ids`, for example ids = { "0" = "road" }, or `colours`'
        findings.append(Finding(role.where, f"layout {layout!r} has no table of ids", remedy))
    findings += _of_other_halves(role, root, kind)
    halves = _in_halves(kind, root)
    lonely = [path for name, path in sorted(labels.items()) if name not in found and name not in halves]
    remedy = "they are ignored; add the images if they are missing"
    return findings + of_files(role.where, "labels without an image", lonely, remedy=remedy, stops=False)


def _in_halves(kind: DataSet, root: Path) -> dict[str, Path]:
    """The images of all splits that share a folder; empty for a layout without such splits."""
    return {name: path for split in kind.halves for name, path in kind.find_images(root, split).items()}


def _of_other_halves(role: Role, root: Path, kind: DataSet) -> list[Finding]:
    """A note of images without a label in the splits that share the folder of this one."""
    if role.folder.split not in kind.halves:
        return []
    images = _in_halves(kind, root)
    of_ours = kind.find_images(root, role.folder.split)
    labelled = {name for split in kind.halves for name in kind.find_labels(root, split)}
    without = [path for name, path in sorted(images.items()) if name not in labelled and name not in of_ours]
    remedy = "this split is whole without them"
    return of_files(role.where, "images of its other splits without a label", without, remedy=remedy, stops=False)


def verified(listing: Listing) -> list[Finding]:
    """The finding of the layout's `verify` on the labels that a job would show it; unreadable labels are skipped."""
    labels = [label for _, label in listing.pairs.values()]
    sample = []
    for label in labels[:: max(1, len(labels) // VERIFIED)][:VERIFIED]:
        try:
            sample.append((label, listing.kind.read(label)))
        except InputError:
            continue  # reported as unreadable
    try:
        if sample:
            verify(sample, kind=listing.kind)
    except InputError as error:
        return [Finding(listing.role.where, str(error))]
    why = doubt(sample, table=listing.kind.table, classes=listing.kind.classes)
    remedy = "look at a label: are its ids those of another table, or shifted?"
    return [Finding(listing.role.where, why, remedy, stops=False)] if why else []
