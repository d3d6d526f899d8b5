"""Part 4: street world -> CamVid in rows of `selfsyn compare`, the most important first, several on the GPU at once.

    python benchmarks/gpu/scores.py FOLDER [--rehearse] [--prepare]

vit          The recipe world-camvid-vit: the ViT source-only, after its round, and its oracle; the student. Three seeds.
native,      The recipe world-camvid with CamVid's 11 classes as the net's, and as it is; three seeds.
merged
vit, ...     The ViT source-only with one setting changed; one seed.
world+carla, The recipes world+carla-camvid, carla-camvid and carla-camvid-vit; one seed.
carla, ...
cnn          The recipe world-camvid at 480x360 with three times the updates. Three seeds.

Each row is a process; AT_ONCE processes share the GPU, and rows that are ready start in this order. Rows that the time limit
stops stay in FOLDER/scores and continue from their checkpoints when the suite runs there again. Finished rows are in scores.json.
pack.py packs CamVid's photos, the ViT's weights and CARLA's frames; rows whose files are not packed are left out. A rehearsal
uses rendered frames in the layouts of CamVid and CARLA, and a tiny ViT.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import server

if __name__ == "__main__":
    server.start()  # its imports run beside those below

import cv2
import numpy as np
import torch
from given import Given, arguments
from record import FAILED, Record

from export.to_onnx import Segmenter
from export.traced import exported
from selfsyn import recipes
from selfsyn.classes import CAMVID_11, CITYSCAPES_19
from selfsyn.compare.plan import Entry, chosen, entries, lay_out
from selfsyn.compare.results import collect
from selfsyn.config import Task, Teacher
from selfsyn.cores import usable_cores
from selfsyn.data.carla import CARLA_OLD
from selfsyn.flow import world_phase
from selfsyn.images import encode_jpeg, encode_png
from selfsyn.manifest import read_manifest
from selfsyn.phase import open_run
from selfsyn.task import build
from selfsyn.world import render

WEIGHTS = "vit.safetensors"
AT_ONCE = 16
THREADS = 2  # of torch in a row; a rehearsal's rows have one: its cores are few
WORKERS = 4  # threads of a row; rows read, label and train at different times
SIZE = (240, 176)  # of the recipes
TIMES = 3  # factor on the updates of the recipe world-camvid
LARGE = (
    "size=[480, 360]",
    f"train.steps={TIMES * 1400}",
    f"train.oracle_steps={TIMES * 1400}",
    f"train.warmup_steps={TIMES * 30}",
    "rounds.steps=[" + ", ".join(str(TIMES * steps) for steps in (350, *[175] * 6)) + "]",
    "train.checkpoint_every=300",
)
TINY = (
    "size=[64, 48]",
    "world.engine=6",
    "world.town=6",
    "adapter.crop=32",
    "task.weights=scratch",
    "teacher.flip=false",
    "teacher.scales=[1.0]",
    "train.steps=4",
    "train.oracle_steps=4",
    "train.batch=4",
    "train.warmup_steps=1",
    "train.checkpoint_every=2",
)
OF_CNN = ("task.backbone=test_efficientnet", "task.decoder_channels=8", "rounds.steps=[2, 1, 1, 1, 1, 1, 1]")
OF_VIT = ("task.backbone=test_vit", "student.weights=scratch", "student.decoder_channels=8", "rounds.steps=[4, 2]")


@dataclass(frozen=True)
class Plan:
    """Rows of a comparison. settings: changes to the recipe.  later: rows that reuse phases of the first row of `rows`.

    carla: the key of the folder with CARLA's frames, if the recipe has one.
    """

    name: str
    recipe: str
    settings: tuple[str, ...]
    rows: tuple[str, ...]
    later: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    carla: str = ""

    @property
    def is_vit(self) -> bool:
        """Whether it needs the ViT's weights."""
        return self.recipe.endswith("vit")

    def packed(self, site: Path) -> bool:
        """Whether the files that it needs beside CamVid are there."""
        return ((site / WEIGHTS).exists() or not self.is_vit) and ((site / "carla").exists() or not self.carla)


RARELY = "train.checkpoint_every=350"  # a checkpoint of a ViT has 350 MB


def changed_vit(plan: Plan, *change: str) -> Plan:
    """Its source-only row for seed 0 with other settings."""
    return replace(
        plan, name=f"vit, {', '.join(change)}", settings=(*change, RARELY), rows=("source-only",), later=(), seeds=(0,)
    )


VIT = Plan(
    "vit",
    "world-camvid-vit",
    ("teacher.flip=false", RARELY),
    ("ours", "source-only", "oracle"),
    ("ours-teacher",),
)
CHANGES = (
    ("task.trainable_blocks=0",),
    ("task.trainable_blocks=4",),
    ("task.input_scale=1.0",),
    ("train.layer_decay=0.9",),
    ("task.drop_path=0.1",),
)
SHORT = ("ours", "source-only")
PLANS = (
    VIT,
    Plan("native", "world-camvid", ("classes.list=camvid-11", RARELY), SHORT),
    Plan("merged", "world-camvid", (RARELY,), SHORT),
    *(changed_vit(VIT, *change) for change in CHANGES[:2]),
    Plan("world+carla", "world+carla-camvid", (RARELY,), SHORT, seeds=(0,), carla="synthetic.2.root"),
    Plan("carla", "carla-camvid", (RARELY,), SHORT, seeds=(0,), carla="synthetic.root"),
    replace(VIT, name="carla, vit", recipe="carla-camvid-vit", later=("ours-teacher",), seeds=(0,), carla="synthetic.root"),
    *(changed_vit(VIT, *change) for change in CHANGES[2:]),
    Plan("cnn", "world-camvid", LARGE, ("ours", "source-only", "oracle"), ("adabn", "seg-uncertainty", "adaptsegnet", "cycada")),
)
REHEARSED = (
    Plan("vit", VIT.recipe, OF_VIT, ("source-only",), seeds=(0,)),
    Plan("carla", "carla-camvid", OF_CNN, ("source-only",), seeds=(0,), carla="synthetic.root"),
)


@dataclass(frozen=True)
class Row:
    """A row and seed of a plan. after: the row whose phases it reuses."""

    plan: Plan
    entry: Entry
    after: Entry | None = None

    @property
    def key(self) -> dict[str, object]:
        """What identifies it in the record."""
        return {"plan": self.plan.name, "row": self.entry.row.name, "seed": self.entry.seed}

    @property
    def awaited(self) -> str:
        """The key of the row whose phases it reuses, as text; empty if there is none."""
        return str(replace(self, entry=self.after, after=None).key) if self.after else ""

    @property
    def ready(self) -> bool:
        """Whether the phases to reuse are finished: with two rounds the stored labels of round 1."""
        return self.after is None or read_manifest(self.after.layout.labels(1)) is not None


def main(given: Given) -> None:
    """Compute the deciding rows of each plan for each seed, then the other rows."""
    record = Record(given.folder, "scores", key=("plan", "row", "seed"))
    plans = REHEARSED if given.rehearse else [plan for plan in PLANS if plan.packed(given.folder / "site")]
    todo = list({str(row.key): row for plan in plans for row in rows_of(given, plan)}.values())
    prepare(given, [row for row in todo if row.plan.settings != LARGE] or todo)
    if not given.prepare:
        compute(given, [row for row in todo if not record.has(**row.key)], record)


def rows_of(given: Given, plan: Plan) -> list[Row]:
    """The rows of a plan by seed: all that wait for no other row, then the others."""
    run = given.folder / "scores" / plan.name.replace(", ", "-").replace("=", "-")
    if not (run / "run.toml").exists():
        begin(given, plan, run)
    layout, config = open_run(run)

    def made(name: str, seed: int) -> Entry:
        rows = chosen(config, names=(name,), ablate=False)
        (found,) = entries(layout, config, rows=rows, nets=(config.task.architecture,), seeds=(seed,), rounds=config.last_round)
        return found

    first = {(name, seed): made(name, seed) for seed in plan.seeds for name in plan.rows}
    later = [Row(plan, made(name, seed), first[plan.rows[0], seed]) for seed in plan.seeds for name in plan.later]
    return [*(Row(plan, entry) for entry in first.values()), *later]


def begin(given: Given, plan: Plan, run: Path) -> None:
    """Write run.toml. SystemExit without CamVid."""
    site = given.folder / "site"
    photos = fake_camvid(given.folder / "camvid") if given.rehearse else site / "camvid"
    if not photos.exists():
        raise SystemExit(f"scores: {photos} does not exist; expected CamVid's train/ and val/; pack them with pack.py --camvid")
    settings = [f"real.root={photos.resolve()}", f"held_out.root={photos.resolve()}", *plan.settings]
    if plan.is_vit and not given.rehearse:
        settings.append(f"task.weights={(site / WEIGHTS).resolve()}")
    if plan.carla:
        renders = fake_carla(given.folder / "carla") if given.rehearse else site / "carla"
        settings.append(f"{plan.carla}={renders.resolve()}")
    tiny = [setting for setting in TINY if not plan.recipe.startswith("carla") or not setting.startswith("world.")]
    settings += tiny if given.rehearse else ["train.precision=bf16"]
    recipes.write_run(run, recipe=plan.recipe, settings=settings)


def prepare(given: Given, todo: Sequence[Row]) -> None:
    """Render the worlds of the rows, and meanwhile trace the graphs of their teachers, which takes half a minute beside rows."""
    nets = {}
    for row in todo:
        config = row.entry.config
        share_graphs(given, row)
        for phase in row.entry.phases:
            if phase.verb == "export-teacher" and phase.stage:
                net = (config.task_of(phase.stage), config.teacher_of(phase.stage), config.size, len(config.class_list))
                nets[str(net)] = net
    with ProcessPoolExecutor(min(len(nets), usable_cores()), mp_context=server.context()) as processes:
        traced = [processes.submit(trace, *net, graphs_of(given), threads_of(given)) for net in nets.values()]
        render_worlds(todo, packed=given.folder / "site" / "worlds")
        for one in traced:
            one.result()


def trace(task: Task, teacher: Teacher, size: tuple[int, int], classes: int, graphs: Path, threads: int) -> None:
    """Export an untrained net, which leaves the graph in the folder `graphs`."""
    torch.set_num_threads(threads)
    net = build(task, pretrained=False, classes=classes)
    exported(Segmenter(net.eval(), task=task, teacher=teacher), size=size, folder=graphs)


def threads_of(given: Given) -> int:
    """The threads of torch in one process of many."""
    return 1 if given.rehearse else THREADS


def graphs_of(given: Given) -> Path:
    """The folder with the traced graphs of all rows."""
    return given.folder / "scores" / "graphs"


def share_graphs(given: Given, row: Row) -> None:
    """Let the row use the traced graphs of all rows."""
    graphs_of(given).mkdir(parents=True, exist_ok=True)
    lay_out(row.entry)
    link = row.entry.layout.graphs
    if not link.exists():
        link.symlink_to(graphs_of(given), target_is_directory=True)


def render_worlds(todo: Sequence[Row], *, packed: Path | None = None) -> None:
    """Render the frames of each seed and size once; link them into other plans' runs. `compare` links them between rows.

    packed: a folder with frames by seed, of the size of the recipes, which are not rendered again.
    """
    todo = [row for row in todo if world_phase(row.entry.config)]
    made = [row.entry for row in todo if read_manifest(row.entry.root / "world")]
    rendered = {(entry.seed, entry.config.size): entry.root / "world" for entry in made}
    for folder in packed.glob("[0-9]*") if packed else ():
        rendered[int(folder.name), SIZE] = folder
    for row in todo:
        root, key = row.entry.root, (row.entry.seed, row.entry.config.size)
        lay_out(row.entry)
        if read_manifest(root / "world") is None and key in rendered:
            shutil.rmtree(root / "world", ignore_errors=True)
            shutil.copytree(rendered[key], root / "world", copy_function=os.link)
        elif read_manifest(root / "world") is None:
            command = [sys.executable, "-m", "jobs", "world", "--run", str(root)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        rendered[key] = root / "world"


def compute(given: Given, todo: Sequence[Row], record: Record) -> None:
    """Compute all rows, AT_ONCE at a time. A row that reuses phases of another one waits for them, unless that one failed."""
    waiting, running = list(todo), []
    while waiting or running:
        alive = {str(row.key) for row, _, _ in running} | {str(row.key) for row in waiting}
        for row in [row for row in waiting if row.ready or row.awaited not in alive][: AT_ONCE - len(running)]:
            waiting.remove(row)
            render_worlds([row])
            share_graphs(given, row)
            running.append((row, started(given, row), time.monotonic()))
        time.sleep(0.2)
        for ended in [one for one in running if one[1].poll() is not None]:
            running.remove(ended)
            row, process, began = ended
            kept(record, row, code=process.returncode, seconds=time.monotonic() - began, beside=len(running))


def started(given: Given, row: Row) -> subprocess.Popen[bytes]:
    """Start `selfsyn compare` for a row and a seed, with its log beside the run."""
    run, entry = row.entry.root.parents[3], row.entry
    awaited = entry.row.name == row.plan.rows[0] and row.plan.later  # gets the cores first
    command = ["nice", "-n", "0" if awaited else "10", sys.executable, "-m", "jobs"]
    command += ["compare", "--run", str(run), "--rows", entry.row.name, "--seeds", str(entry.seed)]
    assert given.device  # refuses a machine without a GPU; `auto` labels on the CPU if onnxruntime is built without CUDA
    command += ["--device", "auto", "--workers", str(WORKERS)]
    log = (given.folder / f"scores-{run.name}-{entry.row.name}-{entry.seed}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": str(threads_of(given))})


def kept(record: Record, row: Row, *, code: int, seconds: float, beside: int) -> None:
    """Record the scores of a row, or its exit code if it failed."""
    figures: dict[str, object] = {"verdict": FAILED, "exit_code": code}
    if code == 0:
        (result,) = [result for lines in collect([row.entry]).values() for line in lines for result in line.results]
        figures = {"miou": result.miou, "pixel_accuracy": float(result.metrics["pixel_accuracy"])}
    updates = row.entry.cost.updates
    record.add(**row.key, **figures, updates=updates, minutes=seconds / 60, rows_beside=beside)


def fake_camvid(folder: Path) -> Path:
    """Write four rendered frames for each split in CamVid's layout, with its 11 ids."""
    shutil.rmtree(folder, ignore_errors=True)
    id_of = np.full(256, len(CAMVID_11), np.uint8)
    id_of[: len(CITYSCAPES_19)] = [min(CAMVID_11.train_id(name), len(CAMVID_11)) for name in CITYSCAPES_19.names]
    for split, first in (("train", 0), ("val", 4)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(first, first + 4):
            image, label = render("camera", seed=0, index=index, size=(64, 48))
            ids = cv2.resize(id_of[label], (64, 48), interpolation=cv2.INTER_NEAREST)
            (folder / split / "images" / f"{index:04d}.jpg").write_bytes(encode_jpeg(image, quality=90))
            (folder / split / "labels" / f"{index:04d}.png").write_bytes(encode_png(ids))
    return folder


def fake_carla(folder: Path) -> Path:
    """Write four rendered frames in CARLA's layout, with its tags before 0.9.12."""
    tags = {name: tag for tag, name in CARLA_OLD.names.items()}
    tag_of = np.array([tags.get(name, 0) for name in CITYSCAPES_19.names] + [0] * (256 - len(CITYSCAPES_19)), np.uint8)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(4):
        image, label = render("town", seed=0, index=index, size=(64, 48))
        (folder / "images" / f"{index:06d}.jpg").write_bytes(encode_jpeg(image, quality=90))
        (folder / "labels" / f"{index:06d}.png").write_bytes(encode_png(tag_of[label]))
    return folder


if __name__ == "__main__":
    main(arguments(__doc__))
