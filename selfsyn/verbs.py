"""The commands of `selfsyn` and the facts about each. Code that runs, shards or compares phases reads them here."""

from __future__ import annotations

from dataclasses import dataclass

# Names of the data sets among the inputs in a manifest.
SYNTHETIC, REAL, REAL_WITH_LABELS, HELD_OUT = "synthetic", "real", "real with labels", "held_out"
DAY = 86_400


@dataclass(frozen=True)
class Verb:
    """A command. A command without `writes` is not a phase.

    reads: data sets that it reads beside the folders that its phase needs; for `train` see data.sources.of_phase.
    writes: its folder, in the run folder or in the stage's folder.
    settings: of the sections of run.toml in which the rows of a comparison differ, those that affect its output.
    needs_torch: the command runs in the image with torch.
    device: it has --device and uses a GPU.  workers: it has --workers.
    processes: it has --processes and uses several GPUs.  sharded: it has --shard and --shards.
    indexed: every run shards its phase; on a cluster it is an Indexed Job.
    learns: its wall time counts as training time in a comparison.
    grace: seconds from SIGTERM to SIGKILL, enough for a step and a checkpoint.
    deadline: seconds from a Job's release after which its phase counts as hung; longer than any expected work.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: str = ""
    settings: tuple[str, ...] = ()
    needs_torch: bool = False
    device: bool = False
    workers: bool = False
    processes: bool = False
    sharded: bool = False
    indexed: bool = False
    learns: bool = False
    grace: int = 60
    deadline: int = DAY

    @property
    def image(self) -> str:
        """The container image of the command: 'train', 'teacher' without torch, 'coordinator'; '' for none of them."""
        if self.name in ("coordinate", "k8s"):
            return "coordinator" if self.name == "coordinate" else ""
        return "train" if self.needs_torch else "teacher"


# In the order of the flow.
_ALL = (
    Verb("init"),
    Verb("doctor"),
    Verb("world", writes="world", workers=True),
    Verb(
        "train", writes="task", settings=("task.", "train.", "rounds.", "rival."), needs_torch=True,
        device=True, workers=True, processes=True, learns=True, grace=120, deadline=7 * DAY,
    ),
    Verb(
        "fit-adapter", reads=(SYNTHETIC, REAL), writes="adapter", settings=("adapter.", "task."), needs_torch=True,
        device=True, learns=True, grace=120, deadline=7 * DAY,
    ),
    Verb(
        "adapt", reads=(SYNTHETIC,), writes="adapted", settings=("adapter.",), needs_torch=True,
        device=True, workers=True, sharded=True, learns=True, deadline=2 * DAY,
    ),
    Verb("export-teacher", reads=(REAL,), writes="teacher", settings=("task.", "teacher."), needs_torch=True),
    Verb(
        "pseudo-label", reads=(REAL,), writes="labels", settings=("teacher.",),
        device=True, workers=True, sharded=True, indexed=True, learns=True, deadline=3 * DAY,
    ),
    Verb("labels"),
    Verb(
        "evaluate", reads=(HELD_OUT,), writes="evaluation", settings=("teacher.", "rounds.kept_fraction"),  # for its calibration
        device=True, workers=True,
    ),
    Verb("probe-gap", reads=(SYNTHETIC,), writes="probe-gap", device=True, workers=True),
    Verb("report", writes="report"),
    Verb("publish"),
    Verb("serve"),
    Verb("round", needs_torch=True),
    Verb("compare", needs_torch=True),
    Verb("demo", needs_torch=True),
    Verb("k8s"),
    Verb("coordinate"),
)  # fmt: skip
VERBS = {verb.name: verb for verb in _ALL}
