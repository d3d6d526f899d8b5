"""The whole configuration of a run: frozen dataclasses that check themselves <-> run.toml."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache, reduce
from pathlib import Path
from typing import Any, TypeVar

from selfsyn.errors import InputError
from selfsyn.progress import say
from selfsyn.stage import Stage

V = TypeVar("V", int, float, str)

# {a key of earlier versions: its name now}. A run.toml that holds it still loads, and a line says so.
RENAMED = {"rounds.align.channels": "rival.discriminator_channels"}
# {a key of earlier versions: its default}. At that value a run.toml still loads: it is left out.
REMOVED: dict[str, Any] = {
    "rounds.align.auxiliary": 0.0,
    "rounds.align.features": 0.0,
    "rounds.align.gate": 0.0,
    "rounds.align.learning_rate": 1e-4,
    "rounds.align.least_squares": False,
    "rounds.align.main": 0.0,
    "rounds.apart": False,
    "rounds.confidence": False,
    "rounds.memory": 0.0,
    "rounds.refit": False,
    "rounds.soft": 0.0,
    "rounds.stop_agreement": 0.0,
    "rounds.unadapted": 0.0,
    "teacher.prior": 0.0,
    "train.decay": "poly",
}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"run.toml: {message}")


@dataclass(frozen=True)
class DataFolder:
    """One data set on disk.

    layout: a key of selfsyn.data.LAYOUTS.  root: a folder.  split: the part of the data set, for layouts that have parts.
    files: a text file with the names of the frames to take, one a line; empty takes all of the split.
    ids: classes of ids on disk, over the layout's own table: { "20" = "road", "7" = "ignore" }.
    Relative paths are taken from the run folder.
    """

    layout: str
    root: str
    split: str = "train"
    files: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ids:
            from selfsyn.labels import TRAIN_ID_OF_LABEL_ID, overlaid  # here: `selfsyn --help` does without numpy

            overlaid(TRAIN_ID_OF_LABEL_ID, self.ids)


@dataclass(frozen=True)
class Source(DataFolder):
    """One of the synthetic, or one of the real data sets.

    name: tells several sources of a role apart; the layout where it is empty.
    share: how often its frames are drawn, of all sources of the role; 0 for all of them counts every frame alike.
    border: of a real source, the pixels at the working size whose pseudo-labels never count: top, right, bottom, left. The
    camera's own car, and what undistortion left (Hoyer et al. 2022: [15, 0, 120, 0] for Cityscapes at 1024 x 512).
    """

    name: str = ""
    share: float = 0.0
    border: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = "/" not in self.called and "__" not in self.called
        _require(plain, f"the source name {self.called!r} becomes part of file names; expected no / and no __ in it")
        _require(min(self.border) >= 0, f"the border of {self.called} is {self.border}; expected no number below 0")
        _require(self.share >= 0, f"the share of {self.called} is {self.share}; expected at least 0")

    @property
    def called(self) -> str:
        """The source's name."""
        return self.name or self.layout


@dataclass(frozen=True)
class HeldOut(DataFolder):
    """The labelled real images that `evaluate` alone reads, and the protocol that scores them."""

    split: str = "val"
    protocol: str = "cityscapes-19"

    def __post_init__(self) -> None:
        super().__post_init__()
        from selfsyn.labels import protocol

        protocol(self.protocol)


@dataclass(frozen=True)
class World:
    """Frames of the built-in street world that the run renders for itself; 0 renders none.

    engine, town: synthetic frames, of a wide, tall city and of a low old town.  camera: frames of the stand-in for the real
    domain.  held_out: labelled camera frames.
    """

    engine: int = 0
    town: int = 0
    camera: int = 0
    held_out: int = 0


@dataclass(frozen=True)
class Adapter:
    """CyCADA's pixel level (reference: Hoffman et al. 2018, eq. 1-6). steps counts generator updates; crop is in pixels."""

    steps: int = 20_000
    batch: int = 1
    crop: int = 400
    generator_channels: int = 64
    generator_blocks: int = 9
    discriminator_channels: int = 64
    learning_rate: float = 2e-4
    cycle: float = 10.0
    identity: float = 5.0  # never zero: without it colours drift
    semantic: float = 1.0
    gan: float = 1.0
    pool: int = 50  # adapted images that the discriminators see again
    checkpoint_every: int = 500
    full_resolution: bool = False  # learn from and adapt images at their own sizes; size otherwise

    def __post_init__(self) -> None:
        _require(self.identity > 0, f"adapter.identity is {self.identity}; expected above 0 (colours drift without it)")
        _require(self.crop % 4 == 0, f"adapter.crop is {self.crop}; expected a multiple of 4")


@dataclass(frozen=True)
class Task:
    """The segmentation net. weights: 'download' (the backbone's published ImageNet weights), 'package' (the copy that an
    installed package carries), a local path to a .safetensors or .pth file, or 'scratch'."""

    architecture: str = "deeplabv3plus"
    backbone: str = "resnet50"
    weights: str = "download"
    decoder_channels: int = 256
    output_stride: int = 16  # of deeplabv3plus' encoder; 32 is faster and coarser
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in 0..1, as the backbone was trained
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    auxiliary_at_inference: float = 0.5  # share of the auxiliary scores that the teacher adds to the main ones

    section = "task"  # of run.toml, for messages; no field

    def __post_init__(self) -> None:
        stride, known = self.output_stride, ("deeplabv3plus", "fcn", "segnet")
        _require(stride in (8, 16, 32), f"{self.section}.output_stride is {stride}; expected 8, 16 or 32")
        expected = f"expected one of {', '.join(known)}"
        _require(self.architecture in known, f"{self.section}.architecture is {self.architecture!r}; {expected}")

    @property
    def words(self) -> str:
        """What a person reads on a page."""
        return f"{self.architecture} on {self.backbone} (weights: {self.weights})"

    @property
    def exact(self) -> str:
        """`words`, and what else tells two nets of one architecture apart."""
        if self.architecture != "deeplabv3plus":
            return self.words
        return f"{self.words}, {self.decoder_channels} decoder channels, output stride {self.output_stride}"

    def weights_file(self) -> Path | None:
        """The local file that `weights` names, or None for a word. InputError when there is no such file."""
        if self.weights in ("download", "package", "scratch"):
            return None
        if not Path(self.weights).is_file():
            raise InputError(
                f"{self.section}.weights {self.weights}: no such file;"
                " give a .safetensors or .pth file, 'package', 'download' or 'scratch'"
            )
        return Path(self.weights)


@dataclass(frozen=True)
class Student(Task):
    """The net that the others teach: what the last round that rounds.real_share names trains, and any round beyond it.

    Smaller than [task] it is a product that a larger net taught, as in CLDA and DUDA. What run.toml does not say about it
    is as in [task]. Another net cannot go on from the teacher's weights, so its first round starts 'fresh'.
    """

    section = "student"


@dataclass(frozen=True)
class Augment:
    """Random changes of a training image. Zero switches one off.

    zoom: largest factor of the random crop-and-resize.  colour: strength of brightness, contrast, saturation, hue.
    blur: largest sigma in pixels.  noise: largest standard deviation in grey levels.  cutout: largest side, a share.
    jpeg: largest loss of a JPEG's quality; 70 draws qualities from 100 to 30.  weather: largest strength of haze, rain or
    snow, 0..1; at 1 haze leaves a twentieth of the contrast at 100 m.
    """

    flip: bool = True
    zoom: float = 1.6
    colour: float = 0.4
    blur: float = 1.0
    noise: float = 8.0
    cutout: float = 0.0
    jpeg: int = 0
    weather: float = 0.0

    def __post_init__(self) -> None:
        _require(0 <= self.jpeg <= 99, f"train.augment.jpeg is {self.jpeg}; expected 0 to 99: 100 - jpeg is the lowest quality")
        _require(0 <= self.weather <= 1, f"train.augment.weather is {self.weather}; expected a strength in [0, 1]")


@dataclass(frozen=True)
class Train:
    """How a task model learns. batch counts images; steps counts updates.

    steps: of the source-only training, where everything starts.  oracle_steps: of the oracle bound; as many as the last
    round has had in total make a fair bound.  The rounds' own steps are in Rounds.
    rare: temperature at which labelled frames are drawn by the rarity of a class that they show, cropped so that they show
    it (Hoyer et al. 2022: 0.01); 0 draws every frame alike.
    precision: 'fp32', 'bf16', or 'auto': bf16 on GPUs that compute in it and on CPUs with AMX, else fp32; see the manifest.
    """

    steps: int = 40_000
    oracle_steps: int = 70_000
    batch: int = 4
    learning_rate: float = 1e-3
    head_factor: float = 5.0  # new layers learn this many times faster than the pretrained backbone
    weight_decay: float = 0.01
    warmup_steps: int = 500
    clip_norm: float = 0.0
    precision: str = "auto"
    compile: bool = False
    tensorboard: bool = False
    ema: float = 0.999
    auxiliary: float = 0.4
    class_weight_power: float = 0.5  # weight of a class ~ share ** -power, at most 10; 0 weighs all alike
    pseudo_label: float = 1.0  # weight of the loss on pseudo-labelled pixels
    rare: float = 0.0
    checkpoint_every: int = 500
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        _require(self.rare >= 0, f"train.rare is {self.rare}; expected a temperature above 0, or 0 for none")
        _require(self.clip_norm >= 0, f"train.clip_norm is {self.clip_norm}; expected at least 0; 0 is no limit")
        known = ("auto", "fp32", "bf16")
        _require(self.precision in known, f"train.precision is {self.precision!r}; expected one of {', '.join(known)}")


@dataclass(frozen=True)
class Rounds:
    """The schedule by round; a round beyond the list takes the last value.

    All that it says concerns the rounds alone: the bounds (source-only, oracle) never see a real image without its label.

    steps: updates in a round, one number or a list by round.  learning_rate: at a round's start, for the backbone; likewise.
    start: 'warm': a round goes on from the net of the round before, with a schedule of its own; 'continue': it goes on as if
    there were no rounds, with the same optimizer and average and one schedule of train.learning_rate to the end of the last
    round that real_share names (so the source-only net of such a run is not trained to its end); 'fresh': rounds 1, 2, ...
    begin with the pretrained backbone again (Zhang et al. 2021); a list says it by round, of round 0 too.
    adapted: whether the synthetic images of the rounds are adapted ones; false takes them as they are, and fits no adapter.
    real_share: share of a batch that is pseudo-labelled real images; round 0 is always 0, and 1 leaves the synthetic ones out.
    portion: share of each class's pixels, most confident first, that count as pseudo-labels in rounds 1, 2, ...
    class_mix: share of the real images over which half the classes of an adapted image are laid (ClassMix).
    colours: share of the synthetic images that take the colours of a real one, its mean and covariance of red, green and blue
    (Pitié & Kokaram 2007), drawn anew each time; one laid over a real image takes that one's. Exposure and contrast of the whole
    image are what an adapter that looks at tiles cannot change.
    statistics: share of batch-norm statistics re-estimated on the real images that a round's net ends with; 0 keeps its own.
    rare: as train.rare, for the pseudo-labelled images and the pseudo-labels that count.
    robust: the loss on pseudo-labels: '' (cross-entropy) or 'symmetric' (Wang et al. 2019).
    mask: share of the blocks of `mask_block` pixels that are hidden in another copy of each pseudo-labelled image, whose
    labels the net shall find all the same (Hoyer et al. 2023: 0.7, 64 pixels at 1024 x 512); 0 makes no copy.
    rectify: a pixel's loss counts the less, the more the heads differ (Zheng & Yang 2021).
    online: from round 0 on, each batch also has as many real images as labelled ones that the training's own average (EMA)
    labels as it goes, as it sees them unchanged, half the classes of an adapted image laid over each; they count by the share
    of pixels of which the average is sure (Tranheden et al. 2021, DACS).
    """

    steps: int | tuple[int, ...] = 10_000
    learning_rate: float | tuple[float, ...] = 5e-4
    start: str | tuple[str, ...] = "warm"
    adapted: bool = True
    real_share: tuple[float, ...] = (0.0, 0.25, 0.5)
    portion: tuple[float, ...] = (0.5, 0.65)
    class_mix: float = 0.0
    colours: float = 0.0
    statistics: float = 0.0
    rare: float = 0.0
    robust: str = ""
    mask: float = 0.0
    mask_block: int = 64
    rectify: bool = False
    online: bool = False

    def __post_init__(self) -> None:
        _require(
            self.real_share[0] == 0, f"rounds.real_share starts with {self.real_share[0]}; expected 0: round 0 has no teacher"
        )
        _require(all(0 <= s <= 1 for s in self.real_share), f"rounds.real_share is {self.real_share}; expected shares in [0, 1]")
        _require(all(0 < p <= 1 for p in self.portion), f"rounds.portion is {self.portion}; expected shares in (0, 1]")
        for name in ("class_mix", "colours", "statistics"):
            share = getattr(self, name)
            _require(0 <= share <= 1, f"rounds.{name} is {share}; expected a share in [0, 1]")
        _require(0 <= self.mask < 1, f"rounds.mask is {self.mask}; expected a share in [0, 1)")
        _require(self.mask_block > 0, f"rounds.mask_block is {self.mask_block}; expected at least 1 pixel")
        starts = set(self.start) if isinstance(self.start, tuple) else {self.start}
        known_starts = {"warm", "fresh", "continue"}
        _require(
            starts <= known_starts, f"rounds.start is {self.start!r}; expected 'warm', 'fresh' or 'continue', or a list of them"
        )
        _require(self.robust in ("", "symmetric"), f"rounds.robust is {self.robust!r}; expected '' or 'symmetric'")
        _require(self.rare >= 0, f"rounds.rare is {self.rare}; expected at least 0")

    def steps_of(self, round_: int) -> int:
        """The updates of round `round_`; 0 leaves the net as it was."""
        return _by_round(self.steps, round_)

    def learning_rate_of(self, round_: int) -> float:
        """The backbone's learning rate at the start of round `round_`."""
        return _by_round(self.learning_rate, round_)

    def start_of(self, round_: int) -> str:
        """'warm', 'continue' or 'fresh': where round `round_` begins. The one word 'fresh' is about rounds 1, 2, ... alone."""
        if round_ == 0 and self.start == "fresh":
            return "warm"
        return _by_round(self.start, round_)

    def real_share_of(self, round_: int) -> float:
        """The share of real images in a batch of round `round_`."""
        return _by_round(self.real_share, round_)

    def portion_of(self, round_: int) -> float:
        """The portion of pseudo-labels that count in round `round_` (1, 2, ...)."""
        return _by_round(self.portion, round_ - 1)


def _by_round(value: V | tuple[V, ...], round_: int) -> V:
    """One value for every round, or the list's; a round beyond the list takes the last."""
    return value[min(round_, len(value) - 1)] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Rival:
    """What only the rivals of `compare` need.

    method: the rival whose loss terms the rounds have, see selfsyn.compare.rivals; '' is none. They bring, from round 0 on,
    as many bare real images into a batch as labelled ones.  discriminator_channels: of the first layer of its discriminators.
    """

    method: str = ""
    discriminator_channels: int = 64

    def __post_init__(self) -> None:
        channels = self.discriminator_channels
        _require(channels > 0, f"rival.discriminator_channels is {channels}; expected at least 1")


@dataclass(frozen=True)
class Teacher:
    """How a trained net becomes the teacher, and how it labels.

    precision: 'fp32', or 'fp16' for half the memory on a GPU, not always less time: the file that labels and is evaluated.
    flip: whether the teacher also looks at each image mirrored, and answers by the mean of both scores.
    scales: sizes at which it looks at each image, likewise; 1.0 is the working size.
    views: which nets look so: 'every' one; or those of 'labelling' alone, the rounds before the last that rounds.real_share
    names. The last round's, which is delivered, and the bounds then look once: what the views saw is learned, not paid for
    at every image.
    unreadable: share of the real images that may be unreadable, rounded up to whole images: they are recorded and left out.
    """

    precision: str = "fp32"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    views: str = "every"
    unreadable: float = 0.01

    def __post_init__(self) -> None:
        _require(self.precision in ("fp32", "fp16"), f"teacher.precision is {self.precision!r}; expected fp32 or fp16")
        _require(all(0.25 <= scale <= 4 for scale in self.scales), f"teacher.scales is {self.scales}; expected 0.25 to 4")
        known = ("every", "labelling")
        _require(self.views in known, f"teacher.views is {self.views!r}; expected one of {', '.join(known)}")
        _require(0 <= self.unreadable < 1, f"teacher.unreadable is {self.unreadable}; expected a share in [0, 1)")

    def spoiled_of(self, images: int) -> int:
        """How many of so many images may be unreadable."""
        return math.ceil(Fraction(str(self.unreadable)) * images)  # the decimal that was written


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result. size is (width, height) in pixels at which nets see images.

    synthetic, real: one data set ([synthetic] in run.toml) or several ([[synthetic]], one after another).
    """

    recipe: str
    seed: int
    size: tuple[int, int]
    synthetic: tuple[Source, ...]
    real: tuple[Source, ...]
    held_out: HeldOut | None = None
    world: World = field(default_factory=World)
    adapter: Adapter = field(default_factory=Adapter)
    task: Task = field(default_factory=Task)
    student: Student | None = None  # the net of the last round; None: that of every other stage
    train: Train = field(default_factory=Train)
    rounds: Rounds = field(default_factory=Rounds)
    teacher: Teacher = field(default_factory=Teacher)
    rival: Rival = field(default_factory=Rival)

    def __post_init__(self) -> None:
        _require(
            all(side >= 32 and side % 4 == 0 for side in self.size), f"size is {self.size}; expected multiples of 4, at least 32"
        )
        for role in ("synthetic", "real"):
            _check_sources(getattr(self, role), role=role)
        for source in self.real:
            _check_border(source, size=self.size)
        bordered = [source.called for source in self.synthetic if any(source.border)]
        _require(not bordered, f"synthetic {', '.join(bordered)} has a border; only real sources do: remove it")
        fits = self.adapter.crop <= min(self.size) or self.adapter.full_resolution
        _require(fits, f"adapter.crop is {self.adapter.crop}; expected at most the shorter side of size {self.size}")
        if self.student is not None:
            _check_student(self.rounds, first=self.last_round)
        _check_batches(self)

    def real_in_batch(self, round_: int) -> int:
        """How many of a batch's labelled images are pseudo-labelled real ones in round `round_`."""
        return round(self.train.batch * self.rounds.real_share_of(round_)) if round_ else 0

    @property
    def looks_at_bare(self) -> bool:
        """Whether a loss term looks at real images that have no label at all."""
        return bool(self.rival.method)

    @property
    def looks_at_real(self) -> bool:
        """Whether a batch also has real images without labels, whatever for."""
        return self.looks_at_bare or self.rounds.online

    @property
    def last_round(self) -> int:
        """The last round that rounds.real_share names; its net, and any later one's, is `student` if there is one."""
        return len(self.rounds.real_share) - 1

    @property
    def nets(self) -> tuple[Task, ...]:
        """The net, and the student's where the run has one."""
        return (self.task,) if self.student is None else (self.task, self.student)

    def task_of(self, stage: Stage) -> Task:
        """The net of a stage: `task`, but from `last_round` on `student`. Whoever builds or runs a stage's net asks here."""
        taught = stage.round is not None and stage.round >= self.last_round
        return self.student if self.student is not None and taught else self.task

    def teacher_of(self, stage: Stage) -> Teacher:
        """How the teacher of a stage answers: `teacher`, whose views may be for those alone that label for a next round."""
        labels = stage.round is not None and stage.round < self.last_round
        return self.teacher if labels or self.teacher.views == "every" else replace(self.teacher, flip=False, scales=(1.0,))

    def of_stage(self, stage: Stage) -> RunConfig:
        """The configuration that a stage learns by: its own net's in place of `task`."""
        return self if self.task_of(stage) is self.task else replace(self, task=self.task_of(stage))

    def net_of(self, stage: Stage) -> dict[str, str]:
        """{'net': which one the stage's is}, for its manifests, where a run has more than one."""
        return {} if self.student is None else {"net": self.task_of(stage).exact}

    @property
    def adapted_size(self) -> tuple[int, int] | None:
        """(width, height) of adapted images; None: that of each synthetic frame."""
        return None if self.adapter.full_resolution else self.size


def _check_student(rounds: Rounds, *, first: int) -> None:
    _require(first > 0, "[student] is set, but rounds.real_share names no round with a teacher; name more shares, or remove it")
    start, starts = rounds.start_of(first), [*(rounds.start_of(round_) for round_ in range(first)), "fresh"]
    _require(
        start == "fresh",
        f"rounds.start of round {first} is {start!r}, but that round trains [student], which cannot go on from another net;"
        f" set rounds.start to {starts}",
    )


def _check_batches(config: RunConfig) -> None:
    """DeepLabV3+ pools each image to one pixel: of one image alone, batch norm has nothing to normalise there."""
    if all(net.architecture != "deeplabv3plus" for net in config.nets):
        return
    batch, shares = config.train.batch, config.rounds.real_share
    _require(batch > 1, f"train.batch is {batch}; expected at least 2 for deeplabv3plus")
    alone = [str(round_) for round_ in range(len(shares)) if config.looks_at_bare and batch - config.real_in_batch(round_) == 1]
    _require(
        not alone,
        f"train.batch is {batch} and rounds.real_share {shares}: 1 bare real image (rival.method) a batch would"
        f" go through the net by itself in round {', '.join(alone)}; expected 0 or at least 2 for deeplabv3plus:"
        " set train.batch higher",
    )


def _check_border(source: Source, *, size: tuple[int, int]) -> None:
    (width, height), (top, right, bottom, left) = size, source.border
    fits = left + right < width and top + bottom < height
    _require(fits, f"the border of {source.called} is {source.border}; expected less than the size {size}")


def _check_sources(sources: tuple[Source, ...], *, role: str) -> None:
    names = [source.called for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, f"two {role} sources are called {', '.join(twice)}; give each a name of its own")
    shares = [source.share for source in sources]
    _require(all(shares) or not any(shares), f"the shares of the {role} sources are {shares}; expected all, or none")


def load(path: Path) -> RunConfig:
    """Read run.toml. InputError names the file, the key and the nearest known key."""
    try:
        return from_mapping(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; make it with `selfsyn init RECIPE --run {path.parent}`") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML ({error})") from error


def from_mapping(values: Mapping[str, Any]) -> RunConfig:
    """Nested mapping -> RunConfig, every key and type checked."""
    return typing.cast(RunConfig, _build(RunConfig, _with_whole_student(_with_new_names(values)), prefix=""))


def _with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the keys of RENAMED under their names of today; a key that holds both keeps the new one's value."""
    result = copy.deepcopy(dict(values))
    for old, new in RENAMED.items():
        (*tables, leaf), (*new_tables, new_leaf) = old.split("."), new.split(".")
        node = reduce(lambda table, name: _as_table(table.get(name)), tables, result)
        if leaf in node:
            _say_renamed(old, new)
            target = reduce(lambda table, name: _as_table(table.setdefault(name, {})), new_tables, result)
            target.setdefault(new_leaf, node.pop(leaf))
    return result


def _as_table(value: Any) -> dict[str, Any]:
    """The table, or an empty one for a value that is none: whoever converts it says so."""
    return value if isinstance(value, dict) else {}


@cache
def _say_renamed(old: str, new: str) -> None:
    say(f"run.toml: {old} is called {new} now")


def _with_whole_student(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What [student] does not say is as in [task]."""
    task, student = values.get("task", {}), values.get("student")
    if isinstance(task, Mapping) and isinstance(student, Mapping):
        return {**values, "student": {**task, **student}}
    return values


def to_toml(config: RunConfig) -> str:
    """The canonical run.toml: every field, in the order of the dataclasses. load(to_toml(c)) == c."""
    lines: list[str] = []
    _write_table(config, "", lines)
    return "\n".join(lines).strip() + "\n"


def flat(config: RunConfig) -> dict[str, Any]:
    """{'train.steps': 40000, ...}: every leaf of the configuration by its dotted name."""
    return dict(_leaves(config, ""))


def difference(ours: RunConfig, theirs: RunConfig) -> list[str]:
    """'train.steps: 300 -> 400' for each leaf that differs, from `ours` to `theirs`."""
    before, after = flat(ours), flat(theirs)
    keys = list(before) + [key for key in after if key not in before]
    return [f"{k}: {before.get(k)!r} -> {after.get(k)!r}" for k in keys if before.get(k) != after.get(k)]


def with_settings(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """`values` with each 'dotted.key=value' applied; the value is TOML, or a bare word taken as a string."""
    result = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting!r}: expected KEY=VALUE, for example train.steps=300")
        *tables, leaf = key.strip().split(".")
        node: Any = result
        for table in tables:
            node = _inside(node, table, setting=setting)
        if isinstance(node, list):
            raise InputError(f"--set {setting!r}: {len(node)} tables are there; name one of them, KEY.0.…")
        node[leaf] = _value_of(text.strip())
    return result


def _inside(node: dict[str, Any] | list[dict[str, Any]], table: str, *, setting: str) -> dict[str, Any] | list[dict[str, Any]]:
    """The table `table` of `node`, or the table at that number of a list of tables."""
    if isinstance(node, list):
        if not (table.isdecimal() and int(table) < len(node)):
            raise InputError(f"--set {setting!r}: {table} is no number of a source; expected 0 to {len(node) - 1}")
        return node[int(table)]
    inside: Any = node.setdefault(table, {})
    if not isinstance(inside, dict | list):
        raise InputError(f"--set {setting!r}: {table} is a value, not a table")
    return inside


def _value_of(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _build(kind: type, values: Mapping[str, Any], *, prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    values = {key: value for key, value in values.items() if key in hints or not _removed(prefix + key, value)}
    for key in values:
        if key not in hints:
            nearest = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)[0]
            raise InputError(f"run.toml: unknown key {prefix}{key}; did you mean {prefix}{nearest}?")
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise InputError(f"run.toml: {prefix}{item.name} is missing; set it with --set {prefix}{item.name}=VALUE")
    return kind(**{key: _convert(hints[key], value, name=prefix + key) for key, value in values.items()})


def _removed(name: str, value: Any) -> bool:
    """Whether the key is one of REMOVED at its old default, or a table of such. InputError when it holds another value."""
    if isinstance(value, Mapping) and any(key.startswith(f"{name}.") for key in REMOVED):
        return all(_removed(f"{name}.{key}", inside) for key, inside in value.items())
    if name not in REMOVED:
        return False
    _require(
        value == REMOVED[name],
        f"{name} is {value!r}, but that key was removed; delete it, or finish this run with the version of selfsyn that began it",
    )
    return True


def _convert(hint: Any, value: Any, *, name: str) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        lists = [option for option in options if typing.get_origin(option) is tuple and isinstance(value, list | tuple)]
        hint = (lists or options)[0]
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), f"{name} is {value!r}; expected a table")
        return _build(typing.cast(type, hint), value, prefix=name + ".")
    if typing.get_origin(hint) is tuple:
        return _convert_tuple(hint, value, name=name)
    if typing.get_origin(hint) is dict:
        fits = isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())
        _require(fits, f"{name} is {value!r}; expected a table of words")
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    _require(type(value) is hint, f"{name} is {value!r}; expected {hint.__name__}")
    return value


def _convert_tuple(hint: Any, value: Any, *, name: str) -> tuple[Any, ...]:
    inner = typing.get_args(hint)
    open_ended = inner[-1] is Ellipsis
    if dataclasses.is_dataclass(inner[0]) and isinstance(value, Mapping):
        return (_convert(inner[0], value, name=name),)
    wanted = "a list of at least one" if open_ended else f"a list of {len(inner)}"
    fits = isinstance(value, list | tuple) and (len(value) > 0 if open_ended else len(value) == len(inner))
    _require(fits, f"{name} is {value!r}; expected {wanted} {inner[0].__name__}")
    numbered = dataclasses.is_dataclass(inner[0]) and len(value) > 1
    return tuple(_convert(inner[0], item, name=f"{name}.{i}" if numbered else name) for i, item in enumerate(value))


def _write_table(table: Any, prefix: str, lines: list[str]) -> None:
    fields = [(item.name, getattr(table, item.name)) for item in dataclasses.fields(table)]
    plain = [(name, value) for name, value in fields if value is not None and not _tables_of(value)]
    lines += [f"{name} = {_toml(value)}" for name, value in plain]
    for name, value in fields:
        tables = _tables_of(value)
        heading = f"[[{prefix}{name}]]" if len(tables) > 1 else f"[{prefix}{name}]"
        for inner in tables:
            lines += ["", heading]
            _write_table(inner, f"{prefix}{name}.", lines)


def _tables_of(value: Any) -> tuple[Any, ...]:
    """The dataclasses that `value` is, or holds: what run.toml writes as tables."""
    if dataclasses.is_dataclass(value):
        return (value,)
    return value if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]) else ()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _leaves(table: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for item in dataclasses.fields(table):
        value = getattr(table, item.name)
        tables = _tables_of(value)
        for i, inner in enumerate(tables):
            yield from _leaves(inner, f"{prefix}{item.name}.{i}." if len(tables) > 1 else f"{prefix}{item.name}.")
        if not tables and value is not None:
            yield prefix + item.name, value
