"""`labels review` on many images: time, memory and the size of its page.

    python benchmarks/review.py [IMAGES]

Makes the label stores of two rounds with IMAGES (100,000) images of 128x96, which are links to a hundred different ones, and
reviews round 2: seconds, peak memory of the command, bytes of the page, and how many of the proposed images are neighbours.
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

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from exports import RUN, smooth
from tiny_store import write_shard

from selfsyn.images import encode_jpeg
from selfsyn.pseudo_labels import encode_histogram, read_histogram

SIZE = (128, 96)
DIFFERENT = 100


def main(images: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own: what this process holds would count as memory of the process that it starts.
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(root,), kwargs={"images": images})
        maker.start()
        maker.join()
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "jobs", "labels", "review", "--run", folder, "--round", "2"])
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"exit status {status}")
        seconds, made = time.monotonic() - began, root / "round-2" / "review"
        rows = (made / "review.csv").read_bytes().count(b"\n") - 1
        page, memory = (made / "index.html").stat().st_size, usage.ru_maxrss / 1024
        chosen = sorted(map(int, (made / "spread.txt").read_text().split()))
        print(f"{rows:,} rows in {seconds:.0f} s, {memory:.0f} MiB; page {page:,} bytes")
        print(f"{len(chosen)} proposed images, the nearest {min(np.diff(chosen))} frames apart")


def make(root: Path, *, images: int) -> None:
    """A run folder with two label stores."""
    draw = np.random.default_rng(0)
    (root / "data" / "images").mkdir(parents=True)
    (root / "run.toml").write_text(RUN.format(*SIZE))
    for number in range(DIFFERENT):
        photo = draw.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        (root / "data" / "images" / f"{number:06d}.jpg").write_bytes(encode_jpeg(photo, quality=50))
    for round_ in (1, 2):
        shard = root / f"round-{round_}" / "labels" / "shard-00000-of-00001"
        write_shard(shard, {f"{number:06d}": smooth(draw, size=SIZE) for number in range(DIFFERENT)})
        enlarge(shard, images=images)
    for number in range(DIFFERENT, images):
        (root / "data" / "images" / f"{number:06d}.jpg").hardlink_to(root / "data" / "images" / f"{number % DIFFERENT:06d}.jpg")


def enlarge(shard: Path, *, images: int) -> None:
    """Add rows to a shard's index, and links to the maps that it has."""
    rows = [json.loads(line) for line in (shard / "index.jsonl").read_text().splitlines()]
    with open(shard / "index.jsonl", "a") as stream:
        for number in range(DIFFERENT, images):
            name = f"{number:06d}"
            row = {**rows[number % DIFFERENT], "name": name, "image": f"images/{name}.jpg"}
            for kind in ("label", "confidence"):
                row[kind] = str(Path(row[kind]).with_name(f"{name}.png"))
                (shard / row[kind]).hardlink_to(shard / rows[number % DIFFERENT][kind])
            stream.write(json.dumps(row) + "\n")
    counts = read_histogram(shard / "histogram.npz") * images // DIFFERENT
    (shard / "histogram.npz").write_bytes(encode_histogram(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
