"""The flow whole: every phase of a run to round 2, in order, with what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfsyn.config import HeldOut, RunConfig, Source
from selfsyn.errors import InputError
from selfsyn.flow import phases, pseudo_label_phase
from selfsyn.layout import Layout
from selfsyn.phase import is_current, is_done

CONFIG = RunConfig(
    "test", 0, (512, 512), (Source("gta5", "s"),), (Source("cityscapes", "r"),), held_out=HeldOut("cityscapes", "r")
)


def test_the_flow_whole() -> None:
    assert [(phase.name, phase.needs) for phase in phases(CONFIG, rounds=2)] == [
        ("train --bound source-only", ()),
        ("export-teacher --bound source-only", ("source-only/task",)),
        ("evaluate --bound source-only", ("source-only/teacher",)),
        ("fit-adapter", ("source-only/task",)),
        ("adapt", ("adapter",)),
        ("train --round 0", ("source-only/task", "adapted")),
        ("export-teacher --round 0", ("round-0/task",)),
        ("evaluate --round 0", ("round-0/teacher",)),
        ("pseudo-label --round 1 --shard 0 --shards 1", ("round-0/teacher",)),
        ("train --round 1", ("round-0/task", "adapted", "round-1/labels")),
        ("export-teacher --round 1", ("round-1/task",)),
        ("evaluate --round 1", ("round-1/teacher",)),
        ("pseudo-label --round 2 --shard 0 --shards 1", ("round-1/teacher",)),
        ("train --round 2", ("round-1/task", "adapted", "round-2/labels")),
        ("export-teacher --round 2", ("round-2/task",)),
        ("evaluate --round 2", ("round-2/teacher",)),
        ("report", tuple(f"{stage}/evaluation" for stage in ("source-only", "round-0", "round-1", "round-2"))),
    ]


def test_labels_in_another_number_of_shards_are_finished_labels(tmp_path: Path) -> None:
    """A cluster labels in four shards, `selfsyn round` on one machine in one: it must not label again."""
    layout = Layout(tmp_path)
    one = pseudo_label_phase(CONFIG, round_=1)

    def finished(folder: str, **inputs: str) -> Path:
        path = tmp_path / folder / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"inputs": inputs, "digest": f"of {folder}", "counts": {}}))
        return path

    needs = {need: f"of {need}" for need in one.needs}
    for need in one.needs:
        finished(need)
    shards = [finished(f"round-1/labels/shard-{number:05d}-of-00004", **needs) for number in range(4)]
    assert is_current(layout, one) and is_done(layout, one)
    assert is_current(layout, pseudo_label_phase(CONFIG, round_=1, shard=2, shards=4))
    shards[3].unlink()
    assert not is_current(layout, one) and not is_done(layout, one)
    assert is_current(layout, pseudo_label_phase(CONFIG, round_=1, shard=2, shards=4))
    finished("round-1/labels/shard-00003-of-00004", **{**needs, "round-0/teacher": "of another teacher"})
    assert not is_current(layout, one)
    with pytest.raises(InputError, match=r"shard-00003-of-00004: made from other inputs \(round-0/teacher changed\)"):
        is_done(layout, one)
