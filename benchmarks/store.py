"""A label store at scale: opening, finding a row, the digest of its content; and reading labels, packed and unpacked.

    python benchmarks/store.py [ROWS [IMAGES]]

Simulates the indices of ROWS images (1,000,000) in 100 shards, without maps. Measures in a process of its own each: CPU seconds
(other work on the machine does not change them much), and memory beyond that of the imports, to open the store, to find 1,000
rows, and to digest the content. Then writes IMAGES (100) labels of 512x256 twice, as two files an image and with --pack, checks
that both stores have the same content, and reads all labels as training does, with two threads: the median CPU time of nine
alternating rounds.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from export.pipeline import Row
from selfsyn.files import digest_bytes
from selfsyn.images import encode_label_png, encode_png, resize_label
from selfsyn.packed_maps import Packer
from selfsyn.pseudo_labels import HISTOGRAM, INDEX, LabelStore, encode_histogram, histogram, maps_of, no_counts

SHARDS, FOUND, ROUNDS = 100, 1000, 9
SIZE = (512, 256)
MIB = 2**20


def main(rows: int, images: int) -> None:
    """Print the figures; SystemExit when the stores differ."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder) / "labels", rows=rows)
        for what in ("open", "find", "digest"):
            command = [sys.executable, __file__, "--measure", what, str(Path(folder) / "labels"), str(rows)]
            print(
                f"{rows:,} rows, {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}", flush=True
            )
    with tempfile.TemporaryDirectory() as folder:
        roots = {pack: Path(folder) / ("packed" if pack else "unpacked") for pack in (False, True)}
        for pack, root in roots.items():
            write(root, images=images, pack=pack)
        read_both({pack: LabelStore(root) for pack, root in roots.items()})


def simulate(folder: Path, *, rows: int) -> None:
    """Indices and manifests of a store with `rows` images, whose shards follow the order of the names."""
    digest = digest_bytes(b"")
    row = Row("NAME", "train/city/NAME.png", "labels/NAME.png", "confidence/NAME.png", digest, digest, 201.4)
    pattern = json.dumps(asdict(row)) + "\n"
    for number in range(SHARDS):
        shard = folder / f"shard-{number:05}-of-{SHARDS:05}"
        shard.mkdir(parents=True)
        with open(shard / INDEX, "w") as stream:
            stream.writelines(pattern.replace("NAME", name_of(image)) for image in range(number, rows, SHARDS))
        finish(shard, no_counts())


def name_of(image: int) -> str:
    """A name as long as those of Cityscapes."""
    return f"city_{image:09}_000019_leftImg8bit"


def finish(shard: Path, counts: np.ndarray) -> None:
    """Write histogram and manifest of a shard."""
    (shard / HISTOGRAM).write_bytes(encode_histogram(counts))
    (shard / "manifest.json").write_text(json.dumps({"counts": {"teacher": "sha256:1"}}))


def measure(what: str, folder: Path, rows: int) -> None:
    """Print seconds and memory of one operation on a simulated store. `open` comes before the others and is not counted there."""
    before, began = peak(), time.process_time()
    store = LabelStore(folder)
    if what != "open":
        began = time.process_time()
    if what == "find":
        for image in range(0, rows, max(1, rows // FOUND)):
            assert store.row(name_of(image))[1]["name"] == name_of(image)
    if what == "digest":
        store.content()
    print(f"{what}: {time.process_time() - began:.2f} CPU s, {(peak() - before) / MIB:.0f} MiB")


def peak() -> int:
    """The peak of this process's memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(folder: Path, *, images: int, pack: bool) -> None:
    """A store of one shard with labels and confidences that compress about as well as a teacher's."""
    shard = folder / "shard-00000-of-00001"
    shard.mkdir(parents=True)
    packer, counts, draw = Packer(shard) if pack else None, no_counts(), np.random.default_rng(0)
    with open(shard / INDEX, "w") as index:
        for image in range(images):
            label = resize_label(draw.integers(0, 19, (SIZE[1] // 16, SIZE[0] // 16), dtype=np.uint8), size=SIZE)
            confidence = np.repeat(draw.integers(120, 256, (SIZE[1], SIZE[0] // 2), dtype=np.uint8), 2, axis=1)
            maps, name = (encode_label_png(label), encode_png(confidence)), name_of(image)
            if packer:
                packer.add(name, maps)
            else:
                for path, data in zip(maps_of(shard, name), maps, strict=True):
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(data)
            counts += histogram(label, confidence)
            index.write(json.dumps({"name": name, "label_digest": digest_bytes(maps[0])}) + "\n")
    if packer:
        packer.finish()
    finish(shard, counts)


def read_both(stores: dict[bool, LabelStore]) -> None:
    """Read all labels of both stores in turn; print images/s and the ratio."""
    contents = {pack: store.content() for pack, store in stores.items()}
    if contents[True] != contents[False]:
        raise SystemExit(f"the contents differ: {contents}")
    seconds: dict[bool, list[float]] = {pack: [] for pack in stores}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            for pack, store in stores.items():
                began = time.process_time()
                for _ in pool.map(lambda name, store=store: store.read(name, portion=0.5), store.names):  # type: ignore[misc]
                    pass
                seconds[pack].append(time.process_time() - began)
    rates = {pack: len(stores[pack].names) / statistics.median(found) for pack, found in seconds.items()}
    print(
        f"the same content, {contents[True][:19]}; labels per CPU s: unpacked {rates[False]:.0f}, packed {rates[True]:.0f},"
        f" ratio {rates[True] / rates[False]:.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        numbers = [int(argument) for argument in sys.argv[1:]]
        main(*(numbers + [1_000_000, 100][len(numbers) :]))
