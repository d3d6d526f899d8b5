"""How long `selfsyn doctor` takes on a data set of GTA5's shape, and how much memory.

python benchmarks/doctor.py [FRAMES]

FRAMES (25,000) different frames of 64x48 in GTA5's layout and 100 in Cityscapes', made in a temporary folder. Then doctor,
the same again (cached), and with --all. Memory is sampled: the most that doctor's own process held, and the most that it
held together with those that it starts to try torch and onnxruntime, whose libraries are most of it.
"""

from __future__ import annotations

import multiprocessing
import os
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
SIZE = (64, 48)
BLOCK = 8  # pixels of a side that share an id

Look = tuple[str, tuple[str, ...]]
LOOKS: tuple[Look, ...] = (("first", ()), ("again, cached", ()), ("--all", ("--all",)))


def main(frames: int) -> None:
    """Make the data, print seconds and peak megabytes of each look."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, frames=frames)
        run = root / "run"
        selfsyn("init", "gta5-cityscapes", "--run", run, *settings(root))
        for title, options in LOOKS:
            began = time.perf_counter()
            last, own, together = watched("doctor", "--run", run, *options)
            seconds = time.perf_counter() - began
            memory = f"{own:.0f} MB itself, {together:.0f} MB with torch's process"
            print(f"{title}: {frames} + {2 * REAL} frames in {seconds:.1f} s, {memory}; {last}", flush=True)


def selfsyn(*arguments: object) -> str:
    """What a verb prints. CalledProcessError when it does not end with 0."""
    command = [sys.executable, "-m", "jobs", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def watched(*arguments: object) -> tuple[str, float, float]:
    """A verb's last line, and the peaks in MB of its process and of that with its descendants. Linux only."""
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
    """The processes that a process has started, and theirs."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # ended meanwhile
        return []
    return children + [further for child in children for further in descendants(child)]


def memory(pid: int) -> float:
    """MB that a process holds, libraries that others hold as well in full: it must not seem smaller beside other programs."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def settings(root: Path) -> list[str]:
    """The data sets' folders, as options of `init`."""
    roots = (f"synthetic.root={root}/gta5", f"real.root={root}/cityscapes", f"held_out.root={root}/cityscapes")
    return [part for value in roots for part in ("--set", value)]


def make(root: Path, *, frames: int) -> None:
    """Write both data sets with all cores."""
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
    """One frame of `train`, without its label, and one of `val`."""
    for split, offset in (("train", 0), ("val", REAL)):
        image, label = frame(number + offset)
        put(root / f"leftImg8bit/{split}/ulm/ulm_{number:06d}_000019_leftImg8bit.png", image)
        if split == "val":
            put(root / f"gtFine/{split}/ulm/ulm_{number:06d}_000019_gtFine_labelIds.png", label)


def frame(number: int) -> tuple[bytes, bytes]:
    """PNG bytes of noise, and of blocks of label ids in a palette."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    ids = LABEL_ID_OF_TRAIN_ID[rng.integers(0, CLASS_COUNT, (SIZE[1] // BLOCK, SIZE[0] // BLOCK))]
    label = ids.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    return encode_png(image), encode_palette_png(label, palette=PALETTE)


def put(path: Path, data: bytes) -> None:
    """Write the bytes and the folders above them; the data is gone with the folder, so nothing is synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES)
