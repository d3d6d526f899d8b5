"""The phases of a run on a cluster as a text table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.cluster.api import COORDINATOR, PhaseJob

HEADING = ("ROUND", "PHASE", "STATE", "DONE", "FAILED PODS", "TIME", "")


@dataclass(frozen=True)
class Row:
    """A phase or a coordinator as it is shown. job: None for a coordinator that has no Job."""

    round_: int
    phase: str
    state: str
    remark: str = ""
    job: PhaseJob | None = None

    def cells(self, *, now: datetime) -> tuple[str, ...]:
        """The cells of the table's columns."""
        job = self.job
        if job is None:
            return str(self.round_), self.phase, self.state, "", "", "", self.remark
        time = "" if job.began is None else _short((job.ended or now) - job.began)
        return str(self.round_), self.phase, self.state, f"{job.done}/{job.of}", str(job.tries or ""), time, self.remark


def table(rows: Sequence[Row], *, now: datetime | None = None) -> str:
    """The table as text: in each round the coordinator, then the phases in the order in which they can run."""
    phases = [row.job for row in rows if row.job]
    ordered = sorted(rows, key=lambda row: (row.round_, _depth(row.job, phases), row.phase))
    cells = [HEADING, *(row.cells(now=now or datetime.now(UTC)) for row in ordered)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADING))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def _short(time: timedelta) -> str:
    """A duration as H:MM:SS."""
    return str(timedelta(seconds=max(0, round(time.total_seconds()))))


def _depth(phase: PhaseJob | None, phases: Sequence[PhaseJob]) -> int:
    """The length of the longest chain of phases before this phase, in the same round; below that of all for a coordinator."""
    if phase is None or phase.phase == COORDINATOR:
        return -1
    before = [other for other in phases if other.round_ == phase.round_ and other.phase in phase.after]
    return 1 + max((_depth(other, phases) for other in before), default=-1)
