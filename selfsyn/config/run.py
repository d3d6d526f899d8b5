"""The configuration of a run: its sections together, and what must hold between them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from selfsyn.classes import CITYSCAPES_19, IGNORED, ClassList
from selfsyn.config.adapter import Adapter
from selfsyn.config.bounds import Whole, require
from selfsyn.config.classes import Classes, Scoring
from selfsyn.config.data import WORLD, DataFolder, HeldOut, Source, World
from selfsyn.config.rival import Rival
from selfsyn.config.rounds import Rounds
from selfsyn.config.task import Student, Task
from selfsyn.config.teacher import Teacher
from selfsyn.config.train import OF_VIT_IN_TRAIN, Train
from selfsyn.errors import InputError
from selfsyn.stage import Stage

if TYPE_CHECKING:
    from selfsyn.labels import Protocol

Sources = Annotated[tuple[Source, ...], Meta(min_length=1)]


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result.

    recipe: the name of the recipe that the run began with.
    seed: of all random number generators, of the built-in world too.
    size: (width, height) in pixels of training and inference, multiples of 4. Images are resized to it; scores are counted
    at the size of the label.
    synthetic, real: one data set ([synthetic] in run.toml) or several ([[synthetic]], one after another).
    """

    recipe: str
    seed: Whole
    size: tuple[int, int]
    synthetic: Sources
    real: Sources
    held_out: HeldOut | None = None
    classes: Classes | None = None
    scoring: Scoring | None = None
    world: World = field(default_factory=World)
    adapter: Adapter = field(default_factory=Adapter)
    task: Task = field(default_factory=Task)
    student: Student | None = None
    train: Train = field(default_factory=Train)
    rounds: Rounds = field(default_factory=Rounds)
    teacher: Teacher = field(default_factory=Teacher)
    rival: Rival = field(default_factory=Rival)

    def __post_init__(self) -> None:
        fits = all(side >= 32 and side % 4 == 0 for side in self.size)
        require(fits, f"size is {self.size}; expected multiples of 4, at least 32")
        for role in ("synthetic", "real"):
            _check_sources(getattr(self, role), role=role)
        for source in self.real:
            _check_border(source, size=self.size)
        bordered = [source.called for source in self.synthetic if any(source.border)]
        require(not bordered, f"synthetic {', '.join(bordered)} has a border; only real sources do: remove it")
        fits = self.adapter.crop <= min(self.size) or self.adapter.full_resolution
        require(fits, f"adapter.crop is {self.adapter.crop}; expected at most the shorter side of size {self.size}")
        if self.student is not None:
            _check_student(self.rounds, first=self.last_round)
        _check_classes(self)
        _check_batches(self)
        _check_vit(self)

    @property
    def class_list(self) -> ClassList:
        """The classes of the run."""
        return CITYSCAPES_19 if self.classes is None else self.classes.made()

    def renders(self, folder: DataFolder) -> bool:
        """Whether `selfsyn world` makes that data set of the run: its root is world/LOOK, in the run."""
        return any(vars(self.world).values()) and PurePath(folder.root).parts[:1] == (WORLD,)

    @property
    def rendered(self) -> World:
        """[world], without the frames that no data set of the run reads."""
        looks = {PurePath(source.root).name for source in (*self.synthetic, *self.real) if self.renders(source)}
        if self.held_out is not None and self.renders(self.held_out):
            looks.add("held_out")
        return World(**{look: count if look in looks else 0 for look, count in vars(self.world).items()})

    @property
    def protocol(self) -> Protocol:
        """How the run is scored: by held_out.protocol; without [held_out], every class counts."""
        from selfsyn.labels import EVERY_CLASS, Rules, protocol  # here: `selfsyn --help` does without numpy

        own = None if self.scoring is None else Rules("own", (), **vars(self.scoring))
        key = EVERY_CLASS if self.classes else self.class_list.key
        return protocol(self.held_out.protocol if self.held_out else key, self.class_list, own=own)

    def real_in_batch(self, round_: int) -> int:
        """How many of a batch's labelled images are pseudo-labelled real ones in round `round_`."""
        return round(self.train.batch * self.rounds.real_share_of(round_)) if round_ else 0

    @property
    def looks_at_bare(self) -> bool:
        """Whether a loss term needs real images without labels."""
        return bool(self.rival.method)

    @property
    def looks_at_real(self) -> bool:
        """Whether a batch also has real images that no stored label belongs to."""
        return self.looks_at_bare or self.rounds.ema_pseudo_labels

    @property
    def last_round(self) -> int:
        """The last round that rounds.real_share names. From this round on the net is `student`, if there is one."""
        return len(self.rounds.real_share) - 1

    @property
    def nets(self) -> tuple[Task, ...]:
        """The net, and the student's where the run has one."""
        return (self.task,) if self.student is None else (self.task, self.student)

    def task_of(self, stage: Stage) -> Task:
        """The net of a stage: `task`, or `student` from `last_round` on. Use this, never `task`, to build a stage's net."""
        taught = stage.round is not None and stage.round >= self.last_round
        return self.student if self.student is not None and taught else self.task

    @property
    def without_student(self) -> RunConfig:
        """This configuration without [student]."""
        return replace(self, student=None)

    def teacher_of(self, stage: Stage) -> Teacher:
        """How the teacher of a stage looks at an image: `teacher`, without test-time augmentation where teacher.views says so."""
        labels = stage.round is not None and stage.round < self.last_round
        return self.teacher if labels or self.teacher.views == "every" else replace(self.teacher, flip=False, scales=(1.0,))

    def of_stage(self, stage: Stage) -> RunConfig:
        """This configuration with the stage's net as `task`."""
        return self if self.task_of(stage) is self.task else replace(self, task=self.task_of(stage))

    def net_of(self, stage: Stage) -> dict[str, str]:
        """{'net': the stage's net in words}, for its manifests, where a run has more than one net; otherwise {}."""
        return {} if self.student is None else {"net": self.task_of(stage).exact}

    @property
    def adapted_size(self) -> tuple[int, int] | None:
        """(width, height) of adapted images; None: each has the size of its synthetic frame."""
        return None if self.adapter.full_resolution else self.size


def _check_classes(config: RunConfig) -> None:
    """The classes that data sets and the protocol name must be those of the run."""
    classes = config.class_list
    known = (*classes.names, *classes.merge, IGNORED)
    sources: tuple[DataFolder, ...] = (*config.synthetic, *config.real, *((config.held_out,) if config.held_out else ()))
    fits = f"expected one of {', '.join(classes.names)}, or ignore"
    for source in sources:
        for text, name in (*source.ids.items(), *source.colours.items()):
            kind = "ids" if text in source.ids else "colours"
            require(name in known, f"{kind} of {source.root}: {text} = {name!r} is not a class; {fits}")
    scored = config.held_out is None or config.held_out.protocol == "own" or config.scoring is None
    require(scored, "[scoring] is set, but held_out.protocol names another protocol; set it to 'own', or remove [scoring]")
    if config.held_out is not None and (config.classes or config.scoring or config.held_out.protocol == "own"):
        try:
            config.protocol  # noqa: B018
        except InputError as error:
            raise InputError(f"run.toml: held_out.protocol: {error}") from None


def _check_student(rounds: Rounds, *, first: int) -> None:
    require(first > 0, "[student] is set, but rounds.real_share names no round with a teacher; name more shares, or remove it")
    start, starts = rounds.start_of(first), [*(rounds.start_of(round_) for round_ in range(first)), "fresh"]
    require(
        start == "fresh",
        f"rounds.start of round {first} is {start!r}, but that round trains [student], which cannot go on from another net;"
        f" set rounds.start to {starts}",
    )


def _check_batches(config: RunConfig) -> None:
    """DeepLabV3+ pools each image to one pixel: of one image alone, batch norm has nothing to normalise there."""
    if all(net.architecture != "deeplabv3plus" for net in config.nets):
        return
    batch, shares = config.train.batch, config.rounds.real_share
    require(batch > 1, f"train.batch is {batch}; expected at least 2 for deeplabv3plus")
    alone = [str(round_) for round_ in range(len(shares)) if config.looks_at_bare and batch - config.real_in_batch(round_) == 1]
    require(
        not alone,
        f"train.batch is {batch} and rounds.real_share {shares}: 1 bare real image (rival.method) a batch would"
        f" go through the net by itself in round {', '.join(alone)}; expected 0 or at least 2 for deeplabv3plus:"
        " set train.batch higher",
    )


def _check_vit(config: RunConfig) -> None:
    names = [net.architecture for net in config.nets]
    for key, plain in OF_VIT_IN_TRAIN.items():
        unused = getattr(config.train, key) != plain and "vit" not in names
        require(not unused, f"train.{key} is for a vit only, but the nets are {' and '.join(names)}; remove it")
    without = [net.section for net in config.nets if net.architecture == "vit" and not net.auxiliary_at_inference]
    needed = "rounds.rectify" if config.rounds.rectify else f"rival.method {config.rival.method!r}" if config.rival.method else ""
    require(
        not (needed and without),
        f"{needed} compares two heads, but the vit of [{''.join(without)}] has one; set {''.join(without)}.auxiliary_at_inference"
        " above 0",
    )


def _check_border(source: Source, *, size: tuple[int, int]) -> None:
    (width, height), (top, right, bottom, left) = size, source.border
    fits = left + right < width and top + bottom < height
    border = f"real.border is {list(source.border)}, for the source {source.called}"
    require(fits, f"{border}; expected less than size {list(size)}, for example [0, 0, 0, 0]")


def _check_sources(sources: tuple[Source, ...], *, role: str) -> None:
    names = [source.called for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"two {role} sources are called {', '.join(twice)}; give each a name of its own")
    shares = [source.share for source in sources]
    require(all(shares) or not any(shares), f"the shares of the {role} sources are {shares}; expected all, or none")
