"""Install the transferred packages, run the parts in order, each within a time limit, and print a table of each.

Imports only the standard library, because it installs the other packages first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from carried import CARRIED, unpack  # noqa: E402

# Seconds that each part may take on a GPU. A part that takes longer is stopped and keeps its finished rows.
LIMITS = {"correctness": 200, "throughput": 150, "teacher": 150, "scores": 900}
REHEARSAL_LIMIT = 300


def main() -> int:
    """Run the suite -> 0 if every part ended with exit code 0 and no row failed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for JSON files and logs; a second run there computes what is missing")
    parser.add_argument(
        "--parts", default=",".join(LIMITS), help=f"comma-separated parts to run, in this order; default: {','.join(LIMITS)}"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="run all code with tiny sizes on the CPU; the figures mean nothing"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="do only the work that needs no GPU: export the teacher, render the worlds"
    )
    parser.add_argument("--seconds", type=float, help="time limit for all parts together")
    given = parser.parse_args()
    parts = given.parts.split(",")
    unknown = [part for part in parts if part not in LIMITS]
    if unknown:
        parser.error(f"--parts {unknown[0]}: no such part; expected some of {', '.join(LIMITS)}")
    if given.rehearse:  # so that a measurement does not continue from the rehearsal's tiny files
        given.folder /= "rehearsal"
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes train at once on few cores
    given.folder.mkdir(parents=True, exist_ok=True)
    site = unpack(CARRIED, given.folder / "site") if CARRIED.exists() and not given.rehearse else None
    end = time.monotonic() + (given.seconds or 1e9)
    codes = {part: _run(part, given, site=site, end=end) for part in parts}
    if given.prepare:
        return int(any(codes.values()))
    codes = {part: code or _failed(given.folder / f"{part}.json") for part, code in codes.items()}
    print()
    for part in parts:
        print(_table(given.folder / f"{part}.json", site=site))
    print(
        "\n".join(
            f"{part}: {'done' if code == 0 else f'ended with {code}, see {given.folder / part}.log'}"
            for part, code in codes.items()
        )
    )
    return int(any(codes.values()))


def _run(part: str, given: argparse.Namespace, *, site: Path | None, end: float) -> int:
    """Run a part as a process; copy its output to FOLDER/PART.log -> its exit code, 124 after its time limit."""
    limit = min(REHEARSAL_LIMIT if given.rehearse else LIMITS[part], end - time.monotonic())
    flags = [flag for flag, on in (("--rehearse", given.rehearse), ("--prepare", given.prepare)) if on]
    command = [sys.executable, str(HERE / f"{part}.py"), str(given.folder), *flags]
    print(f"# {part}, at most {limit:.0f} s", flush=True)
    if limit <= 0:
        return 124
    with subprocess.Popen(
        command, env=_environment(site), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        log = subprocess.Popen(["tee", "-a", str(given.folder / f"{part}.log")], stdin=process.stdout)
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            _end(process)  # also its child processes, because the next part needs the GPU
        log.wait()
    return code


def _failed(path: Path) -> int:
    """1 if a row of the part's JSON file has failed, else 0."""
    return int(any(row.get("verdict") == "FAILED" for row in json.loads(path.read_text())["rows"]))


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(site: Path | None) -> dict[str, str]:
    """The environment of a part. PYTHONPATH: our source, then the transferred packages."""
    paths = [str(ROOT), *([str(site)] if site else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _table(path: Path, *, site: Path | None) -> str:
    command = [sys.executable, str(HERE / "record.py"), str(path)]
    return subprocess.run(command, env=_environment(site), capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
