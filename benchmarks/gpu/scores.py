"""Part 4: street world -> CamVid at 480x360, three times the recipe's updates, three seeds, several rows on the GPU at once.

    python benchmarks/gpu/scores.py FOLDER [--rehearse] [--prepare]

Computes rows of `selfsyn compare`, the most important first. Each row is a process; AT_ONCE processes share the GPU. Rows that
the time limit stops stay in FOLDER/scores/compare and continue from their checkpoints when the suite runs there again.
Finished rows are in scores.json. The photos are CamVid's, which pack.py packs; a rehearsal uses rendered frames in its layout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from given import Given, arguments
from record import FAILED, Record

from selfsyn.compare.plan import Entry, chosen, entries, lay_out
from selfsyn.compare.results import collect
from selfsyn.devices import worker_count
from selfsyn.images import encode_jpeg, encode_png
from selfsyn.manifest import read_manifest
from selfsyn.phase import open_run
from selfsyn.world import render

TIMES = 3  # factor on the recipe's updates
DECIDING = ("ours", "source-only", "oracle")
OTHERS = ("adabn", "seg-uncertainty", "adaptsegnet", "cycada")
SEEDS = (0, 1, 2)
AT_ONCE = 4
SETTINGS = (
    "size=[480, 360]",
    f"train.steps={TIMES * 1400}",
    f"train.oracle_steps={TIMES * 1400}",
    f"train.warmup_steps={TIMES * 30}",
    "rounds.steps=[" + ", ".join(str(TIMES * steps) for steps in (350, *[175] * 6)) + "]",
    "train.checkpoint_every=300",
    "train.precision=bf16",
)
TINY = (
    "size=[64, 48]",
    "world.engine=6",
    "world.town=6",
    "adapter.crop=32",
    "task.architecture=fcn",
    "task.backbone=resnet18",
    "task.weights=scratch",
    "teacher.flip=false",
    "teacher.scales=[1.0]",
    "task.decoder_channels=8",
    "train.steps=4",
    "train.oracle_steps=4",
    "train.batch=4",
    "train.warmup_steps=1",
    "train.checkpoint_every=2",
    "rounds.steps=[2, 2]",
    "rounds.real_share=[0.0, 0.5]",
)


def main(given: Given) -> None:
    """Compute the deciding rows for each seed, then the other rows."""
    record = Record(given.folder, "scores", key=("row", "seed"))
    run = given.folder / "scores"
    seeds = (0,) if given.rehearse else SEEDS
    wanted = [(name, seed) for names in (DECIDING, OTHERS) for seed in seeds for name in names]
    order = wanted[:1] if given.rehearse else wanted
    if not (run / "run.toml").exists():
        begin(given, run)
    todo = [entry for name, seed in order for entry in entries_of(run, rows=(name,), seeds=(seed,))]
    for seed in seeds:
        render_world(run, [entry for entry in todo if entry.seed == seed])
    if given.prepare:
        return
    compute(given, run, todo, record)


def begin(given: Given, run: Path) -> None:
    """Write run.toml. SystemExit without CamVid."""
    photos = fake_camvid(given.folder / "camvid") if given.rehearse else given.folder / "site" / "camvid"
    if not photos.exists():
        raise SystemExit(f"scores: {photos} does not exist; expected CamVid's train/ and val/; pack them with pack.py --camvid")
    roots = (f"real.root={photos.resolve()}", f"held_out.root={photos.resolve()}")
    settings = [part for setting in (*(TINY if given.rehearse else SETTINGS), *roots) for part in ("--set", setting)]
    subprocess.run([sys.executable, "-m", "jobs", "init", "world-camvid", "--run", str(run), *settings], check=True)


def entries_of(run: Path, *, rows: Sequence[str], seeds: Sequence[int]) -> list[Entry]:
    """The entries of the comparison. Each is an ordinary run folder."""
    layout, config = open_run(run)
    wanted = chosen(config, names=rows, ablate=False)
    return entries(layout, config, rows=wanted, nets=(config.task.architecture,), seeds=seeds, rounds=config.last_round)


def render_world(run: Path, todo: Sequence[Entry]) -> None:
    """Render the frames of a seed once, for its first row; `compare` links them into the other rows."""
    entry = todo[0]
    lay_out(entry)
    if read_manifest(entry.root / "world") is None:
        command = [sys.executable, "-m", "jobs", "world", "--run", str(entry.root)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def compute(given: Given, run: Path, todo: Sequence[Entry], record: Record) -> None:
    """Compute all rows, AT_ONCE at a time."""
    waiting = [entry for entry in todo if not record.has(row=entry.row.name, seed=entry.seed)]
    workers = max(1, worker_count(None) // AT_ONCE)
    running: list[tuple[Entry, subprocess.Popen[bytes], float]] = []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            entry = waiting.pop(0)
            running.append((entry, started(given, run, entry, workers=workers), time.monotonic()))
        time.sleep(0.2)
        ended = [row for row in running if row[1].poll() is not None]
        running = [row for row in running if row not in ended]
        for entry, process, began in ended:
            kept(record, entry, code=process.returncode, seconds=time.monotonic() - began, beside=len(running))


def started(given: Given, run: Path, entry: Entry, *, workers: int) -> subprocess.Popen[bytes]:
    """Start `selfsyn compare` for a row and a seed, with its log beside the run."""
    command = [sys.executable, "-m", "jobs", "compare", "--run", str(run), "--rows", entry.row.name, "--seeds", str(entry.seed)]
    command += ["--device", given.device, "--workers", str(workers)]
    log = (given.folder / f"scores-{entry.row.name}-{entry.seed}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": str(workers)})


def kept(record: Record, entry: Entry, *, code: int, seconds: float, beside: int) -> None:
    """Record the scores of a row, or its exit code if it failed."""
    figures: dict[str, object] = {"verdict": FAILED, "exit_code": code}
    if code == 0:
        (result,) = [result for lines in collect([entry]).values() for line in lines for result in line.results]
        figures = {"miou": result.miou, "pixel_accuracy": float(result.metrics["pixel_accuracy"])}
    record.add(
        row=entry.row.name, seed=entry.seed, **figures, updates=entry.cost.updates, minutes=seconds / 60, rows_beside=beside
    )


def fake_camvid(folder: Path) -> Path:
    """Write four rendered frames for each split in CamVid's layout, with its 11 ids."""
    shutil.rmtree(folder, ignore_errors=True)
    for split, first in (("train", 0), ("val", 4)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(first, first + 4):
            image, label = render("camera", seed=0, index=index, size=(64, 48))
            ids = cv2.resize(np.minimum(label, 11).astype(np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)
            (folder / split / "images" / f"{index:04d}.jpg").write_bytes(encode_jpeg(image, quality=90))
            (folder / split / "labels" / f"{index:04d}.png").write_bytes(encode_png(ids))
    return folder


if __name__ == "__main__":
    main(arguments(__doc__))
