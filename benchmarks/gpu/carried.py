"""What travels to a bare machine, in transfers of limited size: made by `pack.py`, put together again by `unpack`.

carried/1, carried/2, ...: each a transfer. A file larger than what is left of a transfer goes on in the next one, as
NAME.part-I-of-N. Wheels are installed into a folder of their own; archives (*.tar) are unpacked there too.
Standard library only.
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
    """Put together and install what has arrived whole; -> `site`, for PYTHONPATH. Says what lacks a piece."""
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
    """onnxruntime looks for CUDA's libraries beside itself: show it those that torch brought."""
    spec = importlib.util.find_spec("nvidia")
    found = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if found and not (site / "nvidia").exists():
        (site / "nvidia").symlink_to(found)


def arrived(carried: Path) -> dict[str, dict[int, Path | None]]:
    """Each carried file's name -> its pieces by number, None for one that is not here."""
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
        raise SystemExit(f"{whole}: expected a wheel or a .tar; make the pieces again with pack.py")
    whole.unlink()
