"""Labels in the formats of labelling tools: time, memory, size, and what the tools' own libraries read back.

    python benchmarks/exports.py [IMAGES [SIZE [TOOL=PYTHON ...]]]

Makes a label store of IMAGES (1,000) images of SIZE (1024x512), and exports it in every format with `--kept-fraction 0.8`:
seconds, CPU seconds and peak memory of the command, MiB on disk without the linked images. Each format is exported a second
time, killed half-way and continued: the bytes must be the same. With TOOL=PYTHON, that interpreter, whose environment has the
tool's library, reads the first 100 images back with `benchmarks/exports_read.py`; e.g. coco=/tmp/tools/bin/python. Every pixel
and confidence must be the same.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from tiny_store import write_shard

from selfsyn.files import digest_file
from selfsyn.images import encode_jpeg, encode_png
from selfsyn.labels import CLASS_COUNT, CLASSES
from selfsyn.pseudo_labels import LabelStore

FORMATS = ("datumaro", "cvat", "label-studio", "fiftyone", "coco", "cityscapes")
RUN = """
recipe = "benchmark"
seed = 0
size = [{0}, {1}]
synthetic = {{ layout = "gta5", root = "unused" }}
real = {{ layout = "plain", root = "data" }}
adapter = {{ crop = 32 }}
"""
KEPT = 0.8
DIFFERENT = 20  # maps; all others are these, shifted
READ = 100


def main(images: int, size: tuple[int, int], tools: dict[str, str]) -> None:
    """Print a row for each format; SystemExit when bytes or pixels differ."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own: what this process holds would count as memory of the processes that it starts.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(root,), kwargs={"images": images, "size": size})
        maker.start()
        maker.join()
        for kind in FORMATS:
            seconds, busy, memory = exported(root, root / kind, kind)
            again = interrupted(root, root / f"{kind}-again", kind, after=seconds / 2)
            if contents(root / kind) != contents(again):
                raise SystemExit(f"{kind}: other bytes after an interruption")
            times, size_on_disk = f"{seconds:7.1f} s {busy:7.1f} s of CPU", f"{on_disk(root / kind):8.1f} MiB on disk"
            print(f"{kind:<14}{times} {memory:6.0f} MiB of memory {size_on_disk}", flush=True)
        write_truth(root, root / "truth")
        for kind, python in tools.items():
            few = root / f"{kind}-few"
            exported(root, few, kind, "--limit", READ)
            script = str(Path(__file__).with_name("exports_read.py"))
            subprocess.run([python, script, kind, str(few), str(root / "truth")], check=True)


def make(root: Path, *, images: int, size: tuple[int, int]) -> None:
    """A run folder with photos and a label store."""
    draw = np.random.default_rng(0)
    maps = [smooth(draw, size=size) for _ in range(DIFFERENT)]
    photos = [encode_jpeg(draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) // 8 * 8, quality=50) for _ in range(4)]
    (root / "data" / "images").mkdir(parents=True)
    store = {}
    for number in range(images):
        (root / "data" / "images" / f"{number:06d}.jpg").write_bytes(photos[number % len(photos)])
        label, confidence = maps[number % DIFFERENT]
        store[f"{number:06d}"] = (np.roll(label, number, axis=1), np.roll(confidence, number, axis=1))
    write_shard(root / "round-1" / "labels" / "shard-00000-of-00001", store)
    (root / "run.toml").write_text(RUN.format(*size))


def smooth(draw: np.random.Generator, *, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A label of a few hundred regions with ragged edges, and its confidence, which is low at the edges."""
    coarse = [draw.normal(0, 4, (9, 17)).astype(np.float32) for _ in range(CLASS_COUNT)]
    scores = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in coarse])
    scores += cv2.GaussianBlur(draw.normal(0, 4, scores.shape[1:]).astype(np.float32), (0, 0), 2)
    shares = np.exp(scores - scores.max(axis=0))
    return scores.argmax(axis=0).astype(np.uint8), (255 * shares.max(axis=0) / shares.sum(axis=0)).round().astype(np.uint8)


def command(root: Path, to: Path, kind: str, *more: object) -> list[str]:
    """The export as a command line."""
    line = ["-m", "jobs", "labels", "export", "--run", root, "--to", to, "--as", kind, "--kept-fraction", KEPT, *more]
    return [sys.executable, *map(str, line)]


def exported(root: Path, to: Path, kind: str, *more: object) -> tuple[float, float, float]:
    """Export; -> seconds, CPU seconds and MiB of the command's peak memory."""
    began = time.monotonic()
    process = subprocess.Popen(command(root, to, kind, *more), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{kind}: exit status {status}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def interrupted(root: Path, to: Path, kind: str, *, after: float) -> Path:
    """The same export, killed after so many seconds and started again."""
    process = subprocess.Popen(command(root, to, kind), stderr=subprocess.DEVNULL)
    time.sleep(after)
    process.kill()
    process.wait()
    exported(root, to, kind)
    return to


def contents(folder: Path) -> dict[str, str]:
    """{path: digest} of all files, linked ones too."""
    return {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*") if path.is_file()}


def on_disk(folder: Path) -> float:
    """MiB of the files, without linked ones."""
    found = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(one.st_size for one in found if one.st_nlink == 1) / 2**20


def write_truth(root: Path, to: Path) -> None:
    """NAME.png (train ids, 255 for none) and NAME.confidence.png as the store has them, and classes.json."""
    store = LabelStore(root / "round-1" / "labels")
    to.mkdir()
    (to / "classes.json").write_text(json.dumps(CLASSES))
    for name in store.names[:READ]:
        (to / f"{name}.png").write_bytes(encode_png(store.read(name, portion=KEPT)))
        (to / f"{name}.confidence.png").write_bytes(encode_png(store.maps(name)[1]))


if __name__ == "__main__":
    given = [value for value in sys.argv[1:] if "=" not in value]
    width, height = (given[1] if len(given) > 1 else "1024x512").split("x")
    pairs = dict(value.split("=") for value in sys.argv[1:] if "=" in value)
    main(int(given[0]) if given else 1000, (int(width), int(height)), pairs)
