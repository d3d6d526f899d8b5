"""The flow whole: every phase of a run to round 2, in order, with what it needs."""

from __future__ import annotations

from selfsyn.config import HeldOut, RunConfig, Source
from selfsyn.flow import phases

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
