"""The GPU suite in rehearsal, so that mistakes show without a GPU, and how it travels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "gpu"))

import carried
import pack

RUN = Path(__file__).parents[1] / "benchmarks" / "gpu" / "run.sh"
PARTS = {"correctness": 11, "throughput": 12, "teacher": 4, "scores": 2}  # rows of a rehearsal


def suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(RUN), str(folder), *arguments]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("part", PARTS)
def test_rehearsal_runs_every_row(part: str, tmp_path: Path) -> None:
    done = suite(tmp_path, "--rehearse", "--parts", part)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "rehearsal" / f"{part}.json").read_text())["rows"]
    assert len(rows) == PARTS[part], rows
    verdicts = [str(row.get("verdict", "ok")) for row in rows]
    assert all(verdict.startswith("ok") for verdict in verdicts), rows
    assert f"## {part} (CPU" in done.stdout


def test_part_that_runs_out_of_time_is_said_and_keeps_its_rows(tmp_path: Path) -> None:
    rows = [{"what": "an earlier row", "verdict": "ok"}]
    (tmp_path / "rehearsal").mkdir()
    (tmp_path / "rehearsal/correctness.json").write_text(json.dumps({"device": "d", "torch": "t", "cuda": "c", "rows": rows}))
    done = suite(tmp_path, "--rehearse", "--parts", "correctness", "--seconds", "1")
    assert done.returncode == 1
    assert "correctness: ended with 124" in done.stdout
    assert "| an earlier row | ok |" in done.stdout


def test_unknown_part_is_refused(tmp_path: Path) -> None:
    done = suite(tmp_path, "--parts", "speed")
    assert done.returncode == 2
    assert "--parts speed: no such part; expected some of correctness" in done.stderr


def test_pieces_fill_transfers_in_order(tmp_path: Path) -> None:
    files = [tmp_path / "a.tar", tmp_path / "b.tar", tmp_path / "c.tar"]
    for path, size in zip(files, (30, 250, 20), strict=True):
        path.write_bytes(os.urandom(size))
    pack.cut(files, tmp_path / "carried", most=100)
    found = {
        str(path.relative_to(tmp_path / "carried")): path.stat().st_size for path in sorted((tmp_path / "carried").glob("*/*"))
    }
    assert found == {
        "1/a.tar": 30,
        "1/b.tar.part-1-of-3": 70,
        "2/b.tar.part-2-of-3": 100,
        "3/b.tar.part-3-of-3": 80,
        "3/c.tar": 20,
    }
    pieces = carried.arrived(tmp_path / "carried")["b.tar"]
    whole = b"".join(piece.read_bytes() for piece in pieces.values() if piece is not None)
    assert whole == files[1].read_bytes()


def test_unpack_waits_for_the_last_piece(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.txt").write_text("street")
    with tarfile.open(tmp_path / "camvid.tar", "w") as archive:
        archive.add(tmp_path / "photo.txt", arcname="camvid/photo.txt")
    pack.cut([tmp_path / "camvid.tar"], tmp_path / "carried", most=6000)
    late = (tmp_path / "carried/2/camvid.tar.part-2-of-2").rename(tmp_path / "late")
    site = carried.unpack(tmp_path / "carried", tmp_path / "site")
    assert "camvid.tar lacks piece 2 of 2" in capsys.readouterr().out
    assert not (site / "camvid").exists()
    late.rename(tmp_path / "carried/2/camvid.tar.part-2-of-2")
    carried.unpack(tmp_path / "carried", tmp_path / "site")
    assert (site / "camvid/photo.txt").read_text() == "street"
