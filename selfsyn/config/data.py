"""[synthetic], [real], [held_out] and [world]: where images and labels come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from selfsyn.classes import parsed_colour
from selfsyn.config.bounds import Filled, NonNegative, Whole, require
from selfsyn.errors import InputError

WORLD = "world"  # the folder of the rendered frames in a run


@dataclass(frozen=True)
class DataFolder:
    """One data set on disk. Relative paths start at the run folder.

    layout: the kind of data set, one of the table in docs/data.md.
    root: the folder of the data set.
    split: the part of the data set, for layouts that have parts.
    files: a text file with the names of the frames to use, one per line; empty uses the whole split.
    ids: overrides of the layout's id table, from an id on disk to a class: { "20" = "road", "7" = "ignore" }.
    colours: for labels that are pictures in colours, the class of each colour: { "#804080" = "road", "#000000" = "ignore" }.
    """

    layout: Filled
    root: Filled
    split: str = "train"
    files: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in self.ids:
            if not (text.isdecimal() and int(text) < 256):
                raise InputError(f"ids: {text!r} is not an id; expected a number from 0 to 255 in quotes")
        for text in self.colours:
            parsed_colour(text)
        if self.ids and self.colours:
            raise InputError("ids and colours are both set; a label holds either ids or colours: remove one")


@dataclass(frozen=True)
class Source(DataFolder):
    """A synthetic or a real data set.

    name: tells several data sets of a role apart; the layout where it is empty.
    share: probability of drawing a frame of this data set, relative to the shares of the others. With 0 for all of them,
    every frame is equally likely. Some with 0 and some without is an error.
    border: of a real data set, in pixels at the working size: top, right, bottom, left. Pseudo-labels there are ignored.
    It hides the hood of the camera's car and the edges of undistorted images (Hoyer et al. 2022 use [15, 0, 120, 0] for
    Cityscapes at 1024 x 512).
    """

    name: str = ""
    share: NonNegative = 0.0
    border: tuple[Whole, Whole, Whole, Whole] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = "/" not in self.called and "__" not in self.called
        require(plain, f"the source name {self.called!r} becomes part of file names; expected no / and no __ in it")

    @property
    def called(self) -> str:
        """The name of the data set."""
        return self.name or self.layout


@dataclass(frozen=True)
class HeldOut(DataFolder):
    """The labelled real images that only `evaluate` reads, and how they are scored.

    protocol: which classes count, see docs/data.md; by default those of Cityscapes, with [classes] every class of the run, and
    with [scoring] that protocol.
    """

    split: str = "val"
    protocol: str = "cityscapes-19"

    def __post_init__(self) -> None:
        super().__post_init__()
        from selfsyn.labels import refuse_unknown_protocol  # here: `selfsyn --help` does without numpy

        refuse_unknown_protocol(self.protocol)


@dataclass(frozen=True)
class World:
    """How many frames of the built-in street world the run renders.

    engine, town: labelled synthetic frames of a city, and of a low old town.
    camera: unlabelled frames that stand in for real images.
    held_out: labelled frames of the same look, for `evaluate`.
    """

    engine: Whole = 0
    town: Whole = 0
    camera: Whole = 0
    held_out: Whole = 0
