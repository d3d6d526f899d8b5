"""Findings: all faults of a run, counted, with paths. A job alone would stop at the first fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfsyn.files import printable

SHOWN = 3  # paths in a line; report.json has all


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one place.

    where: 'synthetic gta5', 'run.toml', 'machine'.  what: what we got.  remedy: what to do; empty if `what` says it.
    paths: the files.  stops: a fault to correct before the run; otherwise a note.
    unreadable: estimated unreadable files of the data set, more than `paths` if only a sample was read.
    """

    where: str
    what: str
    remedy: str = ""
    paths: Sequence[str] = ()
    stops: bool = True
    unreadable: float = 0.0

    @property
    def line(self) -> str:
        """'synthetic gta5: 3 images without a label, first /a.png, /b.png, /c.png; add the labels'."""
        first = f", first {', '.join(self.paths[:SHOWN])}" if self.paths else ""
        return f"{self.where}: {self.what}{first}" + (f"; {self.remedy}" if self.remedy else "")


def of_files(where: str, what: str, paths: Iterable[Path], *, remedy: str, stops: bool = True) -> list[Finding]:
    """The finding about `paths`, with their number; [] without paths."""
    named = tuple(printable(path) for path in paths)
    return [Finding(where, f"{len(named)} {what}", remedy, named, stops)] if named else []


def tolerated(findings: Sequence[Finding], *, allowed: int) -> list[Finding]:
    """Findings in which up to `allowed` unreadable images of real sources do not stop the run: it leaves them out."""
    spoiled = [finding for finding in findings if finding.unreadable and finding.where.startswith("real ")]
    expected = sum(finding.unreadable for finding in spoiled)
    stops, about = expected > allowed, f"teacher.unreadable allows {allowed}"
    if expected > sum(len(finding.paths) for finding in spoiled):
        about += f", and this sample suggests about {expected:.0f}; --all counts them"
    what = "" if stops else "they are recorded and left out; "
    told = {id(finding): replace(finding, stops=stops, remedy=f"{what}{about}; {finding.remedy}") for finding in spoiled}
    return [told.get(id(finding), finding) for finding in findings]


def verdict(findings: Sequence[Finding], *, root: Path) -> str:
    """The last line: 'ready: ...' or 'not ready: what to do'."""
    faults = [finding for finding in findings if finding.stops]
    if not faults:
        notes = f"{len(findings)} note{'s' * (len(findings) > 1)} above; " if findings else ""
        return f"ready: {notes}next: selfsyn round --run {root}"
    first = "; ".join(text for text in (faults[0].what, faults[0].remedy) if text)
    above = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"not ready: correct the {above} above, first {faults[0].where}: {first}; then run doctor again"
