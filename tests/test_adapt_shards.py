"""adapt in shards through the command line: the same images as in one piece, and nobody reads a set that lacks a shard."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import gta5_frame
from safetensors.torch import save_file
from tiny_run import make, selfsyn_here

from selfsyn import config as configuration
from selfsyn.adapter.generator import build_generator
from selfsyn.data import labelled
from selfsyn.errors import NotReadyError
from selfsyn.files import digest_bytes, write_json
from selfsyn.flow import adapt_phase, train_phase
from selfsyn.layout import Layout
from selfsyn.phase import is_current, require
from selfsyn.report.collect import collect
from selfsyn.stage import Stage

NO_WORLD = ("world.engine=0", "world.camera=0", "world.held_out=0")
SHARDS = [f"shard-0000{i}-of-00003" for i in range(3)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Seven synthetic frames and a fitted adapter that is no longer the identity."""
    rng = np.random.default_rng(0)
    for number in range(1, 8):
        gta5_frame(tmp_path / "gta", number, np.full((48, 64), 7), rng=rng, shape=(48, 64))
    run = make(tmp_path / "run", f"synthetic.root={tmp_path}/gta", "real.root=none", "held_out.root=none", *NO_WORLD)
    torch.manual_seed(0)
    translator = build_generator(configuration.load(run / "run.toml").adapter, device=torch.device("cpu"))
    torch.nn.init.normal_(translator.last.weight, 0.0, 0.02)
    (run / "adapter").mkdir()
    save_file(translator.state_dict(), run / "adapter/weights.safetensors")
    write_json(run / "adapter/manifest.json", {"digest": digest_bytes(b"adapter"), "inputs": {}, "outputs": {}})
    return run


def adapt(run: Path, *options: object) -> tuple[int, str]:
    return selfsyn_here("adapt", "--run", run, "--device", "cpu", "--workers", 1, *options)


def pictures(folder: Path) -> dict[str, bytes]:
    found = labelled(folder, layout="adapted")
    return {f"{frame.name} {path.parent.name}": path.read_bytes() for frame in found for path in (frame.image, frame.label)}


def test_three_shards_hold_what_one_piece_holds(run: Path) -> None:
    assert adapt(run)[0] == 0
    whole = pictures(run / "adapted")
    shutil.rmtree(run / "adapted")
    for shard in (2, 0, 1):
        code, said = adapt(run, "--shard", shard, "--shards", 3)
        assert code == 0, said
    assert [len(list((run / "adapted" / name / "images").iterdir())) for name in SHARDS] == [3, 2, 2]
    assert pictures(run / "adapted") == whole and len(whole) == 14
    layout, config = Layout(run), configuration.load(run / "run.toml")
    assert is_current(layout, adapt_phase(config)), "the flow's one phase is done"
    found = collect(layout, config)
    assert found.has(layout.adapted)
    assert [step.phase.name for step in found.finished if step.phase.verb == "adapt"] == [
        f"adapt --shard {shard} --shards 3" for shard in range(3)
    ]


def test_a_shard_that_is_missing_stops_whoever_reads(run: Path) -> None:
    layout, config = Layout(run), configuration.load(run / "run.toml")
    write_json(run / "source-only/task/manifest.json", {"digest": digest_bytes(b"task"), "inputs": {}, "outputs": {}})
    for shard in (0, 2):
        assert adapt(run, "--shard", shard, "--shards", 3)[0] == 0
    assert not is_current(layout, adapt_phase(config))
    assert not collect(layout, config).has(layout.adapted)
    with pytest.raises(NotReadyError, match="2 finished shards"):
        require(layout, train_phase(config, stage=Stage("round-0")))
    with pytest.raises(NotReadyError, match="2 finished shards"):
        labelled(run / "adapted", layout="adapted")
    code, said = selfsyn_here("train", "--run", run, "--round", 0, "--device", "cpu")
    assert code == 3 and "2 finished shards" in said
    assert adapt(run, "--shard", 1, "--shards", 3)[0] == 0
    require(layout, train_phase(config, stage=Stage("round-0")))


def test_a_shard_goes_on_with_the_images_that_are_missing(run: Path) -> None:
    assert adapt(run, "--shard", 0, "--shards", 3)[0] == 0
    shard = run / "adapted" / SHARDS[0]
    whole = {path.name: path.read_bytes() for path in (shard / "images").iterdir()}
    kept, lost, *_ = sorted(shard.glob("images/*.png"))
    before = kept.stat().st_mtime_ns
    (shard / "manifest.json").unlink()
    lost.unlink()
    assert adapt(run, "--shard", 0, "--shards", 3)[0] == 0
    assert {path.name: path.read_bytes() for path in (shard / "images").iterdir()} == whole
    assert kept.stat().st_mtime_ns == before
    code, said = adapt(run, "--shard", 0, "--shards", 3)
    assert code == 0 and "already done" in said


def test_the_shard_comes_from_the_jobs_index(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "JOB_COMPLETION_INDEX", "1")
    monkeypatch.setitem(os.environ, "SELFSYN_SHARDS", "3")
    assert adapt(run)[0] == 0
    assert (run / "adapted" / SHARDS[1] / "manifest.json").exists()


def test_a_shard_beyond_the_last_is_refused(run: Path) -> None:
    code, said = adapt(run, "--shard", 3, "--shards", 3)
    assert code == 2 and "expected 0 to 2" in said
