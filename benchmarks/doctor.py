"""Time and memory of `selfsyn doctor` on a data set of GTA5's size.

python benchmarks/doctor.py [FRAMES [OTHER]]

Makes FRAMES (25,000) different frames of 64x48 in GTA5's layout and 100 in Cityscapes' layout in a temporary folder. Runs
doctor, runs it again (cached), and runs it with --all. Samples peak memory: of doctor's process, and of doctor together
with the processes in which it tries torch and onnxruntime. The libraries of these two need most of the memory.

OTHER: another checkout of this repository. Then doctor runs on the same data for a new run, three times with each code in turn,
and the medians and their ratios are printed: seconds by the clock, and of processors, which other work disturbs less.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from selfsyn.images import encode_palette_png, encode_png
from selfsyn.labels import CLASS_COUNT, LABEL_ID_OF_TRAIN_ID, PALETTE

FRAMES = 25_000
REAL = 100
TURNS = 3
SIZE = (64, 48)
BLOCK = 8  # pixels: the side of a square with one label id

Look = tuple[str, tuple[str, ...]]
LOOKS: tuple[Look, ...] = (("first", ()), ("again, cached", ()), ("--all", ("--all",)))


def main(frames: int, other: Path | None) -> None:
    """Make the data, then print the time and the peak memory of each run of doctor."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, frames=frames)
        if other is not None:
            compared(root, other)
            return
        run = root / "run"
        selfsyn("init", "gta5-cityscapes", "--run", run, *settings(root))
        for title, options in LOOKS:
            began = time.perf_counter()
            last, own, together = watched("doctor", "--run", run, *options)
            seconds = time.perf_counter() - began
            memory = f"{own:.0f} MB in its process, {together:.0f} MB with the processes that it starts"
            print(f"{title}: {frames} + {2 * REAL} frames in {seconds:.1f} s, {memory}; {last}", flush=True)


def compared(root: Path, other: Path) -> None:
    """Print the seconds of a new run's doctor with this code and with the other."""
    codes = [Path(__file__).parent.parent, other.resolve()]
    taken: dict[Path, list[tuple[float, float]]] = {code: [] for code in codes}
    for turn in range(TURNS):
        for place, code in enumerate(codes):
            run = root / f"run-{turn}-{place}"
            selfsyn("init", "gta5-cityscapes", "--run", run, *settings(root), code=code)
            began, used = time.perf_counter(), processor_seconds()
            selfsyn("doctor", "--run", run, code=code)
            taken[code].append((time.perf_counter() - began, processor_seconds() - used))
            print(f"{code}: {taken[code][-1][0]:.1f} s, of processors {taken[code][-1][1]:.1f} s", flush=True)
    for kind, column in (("by the clock", 0), ("of processors", 1)):
        ours, theirs = (statistics.median(times[column] for times in taken[code]) for code in codes)
        print(f"seconds {kind}, median of {TURNS}: {ours:.1f} here, {theirs:.1f} there, ratio {ours / theirs:.3f}")


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def selfsyn(*arguments: object, code: Path | None = None) -> str:
    """Run a verb -> its standard output. CalledProcessError when the exit code is not 0. code: the checkout to run."""
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    environment = os.environ | ({"PYTHONPATH": str(code)} if code else {})
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=code).stdout


def watched(*arguments: object) -> tuple[str, float, float]:
    """Run a verb -> its last line, and peak MB of its process alone and with its descendants. Linux only."""
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    own = together = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            parts = [memory(pid) for pid in (process.pid, *descendants(process.pid))]
            own, together = max(own, parts[0]), max(together, sum(parts))
            time.sleep(0.05)
        said = process.stdout.read() if process.stdout else ""
    return said.splitlines()[-1], own, together


def descendants(pid: int) -> list[int]:
    """Ids of all child processes, their children, and so on."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # the process has ended
        return []
    return children + [further for child in children for further in descendants(child)]


def memory(pid: int) -> float:
    """Resident MB of a process (VmRSS). Shared libraries count in full, so that other programs do not change the figure."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def settings(root: Path) -> list[str]:
    """The options of `init` that set the data sets' folders."""
    roots = (f"synthetic.root={root}/gta5", f"real.root={root}/cityscapes", f"held_out.root={root}/cityscapes")
    return [part for value in roots for part in ("--set", value)]


def make(root: Path, *, frames: int) -> None:
    """Write both data sets on all cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as processes:
        list(processes.map(partial(write_gta5, root / "gta5"), range(1, frames + 1), chunksize=100))
        list(processes.map(partial(write_cityscapes, root / "cityscapes"), range(frames + 1, frames + 1 + REAL)))


def write_gta5(root: Path, number: int) -> None:
    """One frame: images/NNNNN.png and labels/NNNNN.png."""
    image, label = frame(number)
    put(root / f"images/{number:05d}.png", image)
    put(root / f"labels/{number:05d}.png", label)


def write_cityscapes(root: Path, number: int) -> None:
    """One frame of `train` without a label, and one frame of `val` with a label."""
    for split, offset in (("train", 0), ("val", REAL)):
        image, label = frame(number + offset)
        put(root / f"leftImg8bit/{split}/ulm/ulm_{number:06d}_000019_leftImg8bit.png", image)
        if split == "val":
            put(root / f"gtFine/{split}/ulm/ulm_{number:06d}_000019_gtFine_labelIds.png", label)


def frame(number: int) -> tuple[bytes, bytes]:
    """-> PNG bytes of a noise image, and of a palette label with blocks of label ids."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    ids = LABEL_ID_OF_TRAIN_ID[rng.integers(0, CLASS_COUNT, (SIZE[1] // BLOCK, SIZE[0] // BLOCK))]
    label = ids.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return encode_png(image), encode_palette_png(label, palette=PALETTE)


def put(path: Path, data: bytes) -> None:
    """Write a file and its parent folders, without a sync: the folder is temporary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
