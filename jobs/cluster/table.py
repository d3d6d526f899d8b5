"""The phases of a run on a cluster as a text table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from jobs.cluster.api import PhaseJob

HEADING = ("ROUND", "PHASE", "STATE", "DONE", "FAILED PODS", "TIME", "")


def table(phases: Sequence[PhaseJob], *, now: datetime | None = None) -> str:
    """The table as text: rounds in order, and in each round the phases in the order in which they can run."""
    depths = {(phase.round_, phase.phase): _depth(phase, phases) for phase in phases}
    ordered = sorted(phases, key=lambda phase: (phase.round_, depths[phase.round_, phase.phase], phase.phase))
    rows = [HEADING, *(_row(phase, now=now or datetime.now(UTC)) for phase in ordered)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADING))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(phase: PhaseJob, *, now: datetime) -> tuple[str, ...]:
    time = "" if phase.began is None else _short((phase.ended or now) - phase.began)
    remark = phase.why or (f"after {', '.join(phase.after)}" if phase.state == "waiting" and phase.after else "")
    return str(phase.round_), phase.phase, phase.state, f"{phase.done}/{phase.of}", str(phase.tries or ""), time, remark


def _short(time: timedelta) -> str:
    """A duration as H:MM:SS."""
    return str(timedelta(seconds=max(0, round(time.total_seconds()))))


def _depth(phase: PhaseJob, phases: Sequence[PhaseJob]) -> int:
    """The length of the longest chain of phases before this phase, in the same round."""
    before = [other for other in phases if other.round_ == phase.round_ and other.phase in phase.after]
    return 1 + max((_depth(other, phases) for other in before), default=-1)
