# ruff: noqa: F401, F811 (fixtures of another file)
"""`pseudo-label --pack`: one file for a shard, with the same labels, digests and resume as two files an image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_labelling import NAMES, Call, call, files, label, outputs, run

from export.teacher import Teacher
from selfsyn import packed_maps
from selfsyn.errors import InputError
from selfsyn.packed_maps import TABLE, TAR, Packer
from selfsyn.pseudo_labels import LabelStore

PACKED = {"index.jsonl", "histogram.npz", TAR, TABLE}
# Ends the process with SIGKILL when N images are in the file.
ENDING = """
import os, signal, sys
from selfsyn.packed_maps import Packer
add, left = Packer.add, [int(sys.argv.pop(1))]
def adding(self, *arguments):
    add(self, *arguments)
    left[0] -= 1
    if not left[0]:
        self._stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
Packer.add = adding
from jobs.__main__ import main
main()
"""


def killed(run: Path, *, after: int) -> None:
    """A packing job that is killed after some images."""
    arguments = ["pseudo-label", "--run", str(run), "--round", "1", "--device", "cpu", "--workers", "1", "--pack"]
    command = [sys.executable, "-c", ENDING, str(after), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -9, done.stderr


def answers(run: Path) -> tuple[str, list[bytes]]:
    store = LabelStore(run / "round-1/labels")
    return store.content(), [array.tobytes() for name in store.names for array in store.maps(name)]


@pytest.mark.parametrize("shards", [1, 3])
def test_packed_and_unpacked_stores_are_equal(run: Path, call: Call, shards: int, tmp_path: Path) -> None:
    found = {}
    for pack in ([], ["--pack"]):
        for shard in range(shards):
            assert label(call, "--shard", shard, "--shards", shards, *pack) == 0
        folders = sorted((run / "round-1/labels").iterdir())
        found[bool(pack)] = (*answers(run), [outputs(folder) for folder in folders])
        if pack:
            assert all(set(files(folder)) == PACKED for folder in folders)
            for folder in folders:
                with tarfile.open(folder / TAR) as tar:
                    tar.extractall(tmp_path / "out" / folder.name, filter="data")
        else:
            shutil.move(run / "round-1/labels", tmp_path / "unpacked")
    assert found[True] == found[False]
    for folder in (tmp_path / "out").iterdir():
        unpacked = {name: data for name, data in files(tmp_path / "unpacked" / folder.name).items() if name.endswith(".png")}
        assert files(folder) == unpacked


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    run: Path,
    call: Call,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed(run, after=after)
    shard = run / "round-1/labels/shard-00000-of-00001"
    shown, predict = [], Teacher.predict
    monkeypatch.setattr(Teacher, "predict", lambda self, images: shown.append(len(images)) or predict(self, images))
    assert label(call, "--pack") == 0
    assert sum(shown) == len(NAMES) - after
    resumed = files(shard)
    assert set(resumed) == PACKED
    assert label(call, "--pack", "--force") == 0
    assert files(shard) == resumed


def test_a_job_goes_on_where_one_without_packing_stopped(run: Path, call: Call) -> None:
    assert label(call) == 0
    shard = run / "round-1/labels/shard-00000-of-00001"
    expected = answers(run)
    (shard / "manifest.json").unlink()
    (shard / "labels/street-1-train.png").unlink()
    assert label(call, "--pack") == 0
    assert set(files(shard)) == PACKED and answers(run) == expected
    (shard / "manifest.json").unlink()  # killed between the tar and the manifest
    before = files(shard)
    assert label(call, "--pack") == 0 and files(shard) == before


def test_an_image_without_maps_keeps_its_row(run: Path, call: Call) -> None:
    (run / "data/train/images/street-2-train.png").write_bytes(b"\x89PNG")
    with open(run / "run.toml", "a") as stream:
        stream.write("teacher = { unreadable = 0.5 }\n")
    assert label(call, "--pack") == 0
    store = LabelStore(run / "round-1/labels")
    assert list(store.skipped) == ["street-2-train"] and len(store.names) == len(NAMES) - 1
    table = np.load(store.shards[0] / TABLE)
    assert table.shape == (len(NAMES), 4) and not table[2].any() and table[[0, 1, 3]].all()
    assert store.maps("street-3-train")[0].any()
    with pytest.raises(InputError, match="no maps at byte 0"):
        packed_maps.read(store.shards[0], 2)


def test_a_store_is_read_in_threads_and_after_damage_names_the_file(run: Path, call: Call) -> None:
    assert label(call, "--pack") == 0
    store = LabelStore(run / "round-1/labels")
    expected = {name: store.maps(name)[1].tobytes() for name in store.names}
    with ThreadPoolExecutor(8) as pool:
        names = list(store.names) * 20
        assert all(expected[name] == maps[1].tobytes() for name, maps in zip(names, pool.map(store.maps, names), strict=True))
    os.truncate(store.shards[0] / TAR, 100)
    with pytest.raises(InputError, match=r"maps\.tar: cannot be read .*; label the shard again with --force"):
        store.maps(store.names[-1])


def test_two_attempts_at_once_do_each_other_no_harm(tmp_path: Path) -> None:
    one, other = Packer(tmp_path), Packer(tmp_path)
    for name in "ab":
        for packer in (one, other):
            packer.add(name, (name.encode() * 700, b"confidence"))
    one.finish()
    first = (tmp_path / TAR).read_bytes()
    other.finish()
    assert (tmp_path / TAR).read_bytes() == first
    assert packed_maps.read(tmp_path, 1) == (b"b" * 700, b"confidence")
    assert sorted(path.name for path in tmp_path.iterdir()) == [TABLE, TAR]


def test_the_manifest_of_a_round_packs_when_asked() -> None:
    from test_manifests import phase_jobs, rendered
    from yaml import safe_load_all

    jobs = {pack: phase_jobs(list(safe_load_all(rendered(*(["--pack"] * pack))))) for pack in (False, True)}
    for phase, job in jobs[True].items():
        (container,), (plain,) = (found[phase]["spec"]["template"]["spec"]["containers"] for found in (jobs[True], jobs[False]))
        assert container["args"] == plain["args"] + ["--pack"] * phase.startswith("pseudo-label"), phase
        assert job["metadata"] == jobs[False][phase]["metadata"]
    assert json.dumps(jobs[False]).count("--pack") == 0
