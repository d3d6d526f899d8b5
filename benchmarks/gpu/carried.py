"""Installs files that `pack.py` has split into transfers of limited size, on a GPU machine without a network.

Each folder carried/1, carried/2, ... is a transfer. A file that does not fit into the rest of a transfer continues in the
next transfer, as NAME.part-I-of-N. Wheels are installed, and archives (*.tar) unpacked, into a separate folder.
Uses only the standard library.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

CARRIED = Path(__file__).resolve().parent / "carried"


def unpack(carried: Path, site: Path) -> Path:
    """Install all files whose pieces have all arrived; print the others -> `site`, for PYTHONPATH."""
    site.mkdir(parents=True, exist_ok=True)
    for name, pieces in sorted(arrived(carried).items()):
        done = site / f".{name}.installed"
        if done.exists():
            continue
        lacking = [str(number) for number, piece in pieces.items() if piece is None]
        if lacking:
            print(f"carried: {name} lacks piece {', '.join(lacking)} of {len(pieces)}", flush=True)
            continue
        _install([piece for piece in pieces.values() if piece is not None], name, site)
        done.touch()
    _link_cuda(site)
    return site


def _link_cuda(site: Path) -> None:
    """Link torch's CUDA libraries into `site`, because onnxruntime searches for them beside its own folder."""
    spec = importlib.util.find_spec("nvidia")
    found = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if found and not (site / "nvidia").exists():
        (site / "nvidia").symlink_to(found)


def arrived(carried: Path) -> dict[str, dict[int, Path | None]]:
    """File name -> {number: path of the piece, or None if it has not arrived}."""
    found: dict[str, dict[int, Path | None]] = {}
    for path in carried.glob("*/*"):
        name, _, place = path.name.partition(".part-")
        number, _, count = (place or "1-of-1").partition("-of-")
        found.setdefault(name, dict.fromkeys(range(1, int(count) + 1)))[int(number)] = path
    return found


def _install(pieces: list[Path], name: str, site: Path) -> None:
    whole = site / name
    with whole.open("wb") as target:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, target)
    if name.endswith(".whl"):
        options = [
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--no-cache-dir",
            "--upgrade",
            "--root-user-action=ignore",
        ]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(whole)], check=True)
    elif name.endswith(".tar"):
        with tarfile.open(whole) as archive:
            archive.extractall(site, filter="data")
    else:
        raise SystemExit(f"{whole}: expected a .whl or a .tar; make the pieces again with pack.py")
    whole.unlink()
