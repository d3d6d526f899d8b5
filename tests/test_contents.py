"""What a data set contains: a changed file is noticed and named, whatever its size and time, and each file is read once."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest
from official_files import cityscapes_frame, gta5_frame
from test_doctor import NO_WORLD, RNG, SOUND, every_id
from test_labelling import Call, failed, label
from test_labelling import call as call
from test_labelling import run as run
from tiny_run import make, selfsyn_here

from jobs import doctor
from selfsyn import contents as module
from selfsyn.contents import KNOWN, UNREADABLE, Contents, by_names_and_sizes, changes, combined, recorded
from selfsyn.files import digest_bytes, digest_lines, write_json

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2 appendix B.1


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of three files that are older than a moment."""
    for name in ("images/a.png", "images/b.png", "labels/a.png"):
        aged(tmp_path / "data" / name, b"abc")
    return tmp_path / "data"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each file whose bytes were read."""
    count: list[int] = []
    monkeypatch.setattr(module, "digest_stream", lambda stream: count.append(1) or digest_bytes(stream.read()))
    monkeypatch.setattr(module, "RECENT_NS", -(10**18))
    return count


def aged(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def digest(root: Path, kept: Path) -> str:
    return recorded(files(root), root=root, contents=Contents(kept))


def swap(path: Path, data: bytes) -> None:
    """Other contents of the same size, and the time of the last change set back."""
    before = path.stat()
    assert before.st_size == len(data)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_digest_is_that_of_the_list_of_files(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "inputs"
    lines = [f'"{name}"\t3\t{ABC}' for name in ("images/a.png", "images/b.png", "labels/a.png")]
    assert digest(data, kept) == digest_lines(lines)
    listed = kept / f"{digest_lines(lines).removeprefix('sha256:')}.txt"
    assert listed.read_text().splitlines() == lines and digest_bytes(listed.read_bytes()) == digest_lines(lines)
    shutil.move(data, tmp_path / "moved")
    assert digest(tmp_path / "moved", kept) == digest_lines(lines)


def test_a_file_is_read_once_until_it_changes(data: Path, tmp_path: Path, reads: list[int]) -> None:
    first = digest(data, tmp_path / "inputs")
    assert len(reads) == 3
    assert digest(data, tmp_path / "inputs") == first and len(reads) == 3
    swap(data / "labels/a.png", b"abd")
    second = digest(data, tmp_path / "inputs")
    assert second != first and len(reads) == 4
    assert changes(tmp_path / "inputs", first, second) == "1 file changed, first labels/a.png"
    other = data / "images/other"
    other.write_bytes(b"xyz")
    other.replace(data / "images/a.png")
    (data / "images/b.png").unlink()
    aged(data / "images/c.png", b"")
    told = changes(tmp_path / "inputs", second, digest(data, tmp_path / "inputs"))
    assert told == "1 file changed, first images/a.png, 1 file added, first images/c.png, 1 file gone, first images/b.png"


def test_what_changed_a_moment_ago_is_read_again(data: Path, tmp_path: Path) -> None:
    digest(data, tmp_path / "inputs")
    assert not (tmp_path / "inputs" / KNOWN).exists()
    time.sleep(module.RECENT_NS / 1e9 + 0.1)
    digest(data, tmp_path / "inputs")
    assert len(json.loads((tmp_path / "inputs" / KNOWN).read_text())["files"]) == 3


def test_a_difference_names_the_source(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "inputs"
    aged(tmp_path / "more/x.png", b"1")
    before = combined([digest(data, kept), digest(tmp_path / "more", kept)], contents=Contents(kept))
    assert before == digest_lines([digest(data, kept), digest(tmp_path / "more", kept)])
    swap(tmp_path / "more/x.png", b"2")
    now = combined([digest(data, kept), digest(tmp_path / "more", kept)], contents=Contents(kept))
    assert changes(kept, before, now) == "1 file changed, first x.png of source 2"
    assert combined([before], contents=Contents(kept)) == before


def test_earlier_digests_of_names_and_sizes_are_known(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "inputs"
    one, two = digest(data, kept), digest(data / "labels", kept)
    old = [digest_lines(["images/a.png\t3", "images/b.png\t3", "labels/a.png\t3"]), digest_lines(["a.png\t3"])]
    assert by_names_and_sizes(kept, one) == old[0]
    assert by_names_and_sizes(kept, combined([one, two], contents=Contents(kept))) == digest_lines(old)
    assert by_names_and_sizes(kept, ABC) is None


@pytest.mark.parametrize(
    "damaged", ["", "[]", '{"format": 1}', '{"format": 1, "files": {"a": 1}}', '{"format": 9, "files": {}}', "\xff"]
)
def test_a_damaged_memory_is_read_again(data: Path, tmp_path: Path, damaged: str, reads: list[int]) -> None:
    first = digest(data, tmp_path / "inputs")
    (tmp_path / "inputs" / KNOWN).write_bytes(damaged.encode("latin-1"))
    assert digest(data, tmp_path / "inputs") == first and len(reads) == 6


def test_a_run_that_cannot_be_written_still_knows_its_data(
    data: Path, tmp_path: Path, reads: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = digest(data, tmp_path / "inputs")
    (tmp_path / "blocked").write_text("no folder")
    assert digest(data, tmp_path / "blocked/inputs") == expected
    assert "not remembered" in capsys.readouterr().err


def test_names_that_are_not_utf8_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    odd = tmp_path / "data" / os.fsdecode(b"caf\xe9\n\t.png")
    aged(odd, b"abc")
    (tmp_path / "data/gone.png").symlink_to("nowhere")
    paths = [odd, tmp_path / "data/gone.png"]
    assert Contents(tmp_path / "inputs").of_all(paths) == [(3, ABC), (0, UNREADABLE)]
    first = recorded(paths, root=tmp_path / "data", contents=Contents(tmp_path / "inputs"))
    swap(odd, b"abd")
    now = recorded(paths, root=tmp_path / "data", contents=Contents(tmp_path / "inputs"))
    assert changes(tmp_path / "inputs", first, now) == f"1 file changed, first {odd.name}"
    assert by_names_and_sizes(tmp_path / "inputs", first)


def digest_many(root: Path, kept: Path) -> str:
    return recorded(files(root), root=root, contents=Contents(kept))


def test_processes_that_begin_at_once_agree_and_leave_a_whole_memory(tmp_path: Path) -> None:
    for number in range(500):
        aged(tmp_path / f"data/{number}.png", b"%d" % number)
    time.sleep(module.RECENT_NS / 1e9 + 0.1)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.starmap(digest_many, [(tmp_path / "data", tmp_path / "inputs")] * 8)
    assert len(set(found)) == 1
    assert len(json.loads((tmp_path / "inputs" / KNOWN).read_text())["files"]) == 500
    assert len(list((tmp_path / "inputs").iterdir())) == 2  # and no temporary file


# ---- in a run ----


def victim(run: Path) -> Path:
    return run / "data/train/images/street-3-train.png"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    swap(path, bytes(data))


def test_a_phase_refuses_a_changed_file_of_equal_size_and_time_and_names_it(
    run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(call) == 0
    assert label(call) == 0
    flip(victim(run))
    assert label(call) == 2
    assert "made from other inputs (real changed: 1 file changed, first train/images/street-3-train.png)" in failed(capsys)


def test_a_changed_held_out_label_is_named(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "--round", 0, "--device", "cpu") == 0
    flip(run / "data/val/labels/street-1-val.png")
    assert call("evaluate", "--round", 0, "--device", "cpu") == 2
    assert "held_out changed: 1 file changed, first val/labels/street-1-val.png" in failed(capsys)


def old_record(run: Path) -> Path:
    """Put the digest of names and sizes, as earlier versions did, into the manifest of the labels."""
    path = run / "round-1/labels/shard-00000-of-00001/manifest.json"
    found = json.loads(path.read_text())
    images = sorted((run / "data/train/images").glob("*.png"))
    found["inputs"]["real"] = digest_lines(sorted(f"train/images/{image.name}\t{image.stat().st_size}" for image in images))
    write_json(path, found)
    shutil.rmtree(run / "inputs")
    return path


def test_a_phase_of_an_earlier_version_stays_finished_and_says_what_was_compared(
    run: Path, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(call) == 0
    path = old_record(run)
    before = path.read_bytes()
    capsys.readouterr()
    assert label(call) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "before contents were compared" in line]
    assert len(said) == 1 and said[0].endswith("names and sizes are unchanged (real)")
    assert path.read_bytes() == before


def test_a_phase_of_an_earlier_version_refuses_another_size(run: Path, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert label(call) == 0
    old_record(run)
    victim(run).write_bytes(victim(run).read_bytes() + b"\0")
    assert label(call) == 2
    assert "made from other inputs (real changed)" in failed(capsys)


def test_doctor_names_what_changed_since_a_phase_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probed", lambda root, config: SOUND)
    for number in range(1, 6):
        gta5_frame(tmp_path / "gta", number, every_id(), rng=RNG)
    for number in range(4):
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG)
        cityscapes_frame(tmp_path / "city", "val", f"bonn_{number:06d}_000019", every_id(), rng=RNG)
    roots = [f"synthetic.root={tmp_path}/gta", f"real.root={tmp_path}/city", f"held_out.root={tmp_path}/city"]
    root = make(tmp_path / "run", *roots, *NO_WORLD)
    assert findings(root) == []
    begin_training(root)
    assert findings(root) == []
    flip(tmp_path / "gta/labels/00003.png")
    (what,) = findings(root)
    assert "changed since it was read by train --bound source-only (1 file changed, first labels/00003.png)" in what


def begin_training(root: Path) -> None:
    from selfsyn.data import sources
    from selfsyn.flow import train_phase
    from selfsyn.phase import begin, open_run
    from selfsyn.stage import SOURCE_ONLY

    layout, config = open_run(root)
    begin(layout, config, train_phase(config, stage=SOURCE_ONLY), sources=sources.digests(layout, config, ["synthetic"]))


def findings(root: Path) -> list[str]:
    """What doctor finds of changed data."""
    selfsyn_here("doctor", "--run", root)
    found = json.loads((root / "doctor/report.json").read_text())["findings"]
    return [finding["what"] for finding in found if "has changed" in finding["what"]]
