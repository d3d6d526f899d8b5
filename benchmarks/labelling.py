"""Labelling at scale: memory, CPU time for each image, different numbers of shards, and killed jobs.

    python benchmarks/labelling.py [IMAGES [KILLS]]

Uses small images and a teacher with one convolution, so that the job is measured and not the net. Measures jobs with a tenth
of IMAGES (10,000) and with all: peak memory, and CPU time for each image beyond a job with ten images, the minimum of three
alternating rounds. Labels the same images in 1, 4 and 16 shards. Kills (SIGKILL) a job with a twentieth of the images at
KILLS (20) random moments: every file under a final name must be whole, and the next job must end with the same bytes.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny_teacher import SIZE, tiny_onnx, write_teacher

from selfsyn.images import encode_jpeg, read_ids
from selfsyn.pseudo_labels import LabelStore

RUN = f"""
recipe = "benchmark"
seed = 0
size = {list(SIZE)}
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "plain", root = "data" }}
adapter = {{ crop = 32 }}
"""
FEW, ROUNDS = 10, 3
DIFFERENT = 100  # images; all others are copies of them


@dataclass(frozen=True)
class Cost:
    """The cost of a finished job. memory: peak in bytes."""

    seconds: float
    cpu_seconds: float
    memory: int


def main(images: int, kills: int) -> None:
    """Print the figures; SystemExit when a store differs or a file is not whole."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = {count: make(root / str(count), images=count) for count in (FEW, images // 10, images)}
        found: dict[int, list[Cost]] = {count: [] for count in runs}
        for count in [*runs] * ROUNDS:
            found[count].append(label(runs[count], force=True))
        least = {count: min(costs, key=lambda cost: cost.cpu_seconds) for count, costs in found.items()}
        start = least.pop(FEW).cpu_seconds
        per_image = {count: (cost.cpu_seconds - start) / (count - FEW) for count, cost in least.items()}
        for count, cost in least.items():
            print(
                f"{count:>7,} images: {cost.seconds:.1f} s, {1000 * per_image[count]:.2f} CPU ms per image without the start,"
                f" peak memory {cost.memory / 1e6:.0f} MB"
            )
        less, more = least.values()
        print(f"ratios: memory {more.memory / less.memory:.3f}, cost {per_image[images] / per_image[images // 10]:.3f}")
        shards(runs[images])
        survive(make(root / "kills", images=images // 20), kills=kills)


def make(root: Path, *, images: int) -> Path:
    """Make a run with a finished teacher and `images` real images."""
    draw = np.random.default_rng(0)
    pictures = [encode_jpeg(draw.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8), quality=90) for _ in range(DIFFERENT)]
    folder = root / "data" / "images"
    folder.mkdir(parents=True)
    for number in range(images):
        (folder / f"{number:06d}.jpg").write_bytes(pictures[number % DIFFERENT])
    (root / "run.toml").write_text(RUN)
    write_teacher(root / "round-0" / "teacher", tiny_onnx())
    return root


def command(root: Path, *, shard: int = 0, shards: int = 1) -> list[str]:
    """The command line of a labelling job."""
    arguments = ["--run", str(root), "--round", "1", "--device", "cpu", "--shard", str(shard), "--shards", str(shards)]
    return [sys.executable, "-m", "jobs", "pseudo-label", *arguments]


def label(root: Path, *, shard: int = 0, shards: int = 1, force: bool = False) -> Cost:
    """Run a labelling job to its end -> its cost. SystemExit when it fails."""
    began = time.monotonic()
    arguments = command(root, shard=shard, shards=shards) + ["--force"] * force
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said)
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def shards(root: Path) -> None:
    """Label in 1, 4 and 16 shards and compare the contents of the stores."""
    contents = {}
    for count in (1, 4, 16):
        shutil.rmtree(root / "round-1", ignore_errors=True)
        for shard in range(count):
            label(root, shard=shard, shards=count)
        contents[count] = LabelStore(root / "round-1/labels").content()
        print(f"{count:>3} shards: {contents[count]}")
    if len(set(contents.values())) != 1:
        raise SystemExit("the stores differ")


def survive(root: Path, *, kills: int) -> None:
    """Kill a job at random moments, check its files, finish it, and compare the result with an undisturbed job."""
    took = label(root).seconds
    folder = root / "round-1/labels/shard-00000-of-00001"
    expected, moments = contents_of(folder), random.Random(0)
    seen = []
    for _ in range(kills):
        shutil.rmtree(root / "round-1")
        process = subprocess.Popen(command(root), stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(0, took))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        whole = [read_ids(path).shape == SIZE[::-1] for path in folder.rglob("[!.]*.png")]  # read_ids raises for a truncated file
        seen.append(len(whole))
        label(root)
        if not all(whole) or contents_of(folder) != expected:
            raise SystemExit(f"{folder}: differs after a kill with {len(whole)} files written")
    print(f"killed {kills} times, after {sorted(seen)} files: all files were whole, and the next job gave the same bytes")


def contents_of(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of all files of a shard except the manifest, which holds the wall time."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 20)
