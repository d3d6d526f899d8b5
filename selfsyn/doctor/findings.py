"""What is wrong with a run: found, counted and named, where the jobs themselves would stop at the first fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN = 3  # paths of each kind in a line; report.json has them all


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one place.

    where: 'synthetic gta5', 'run.toml', 'machine'.  what: what we got.  remedy: what to do; empty where `what` says it.
    paths: the files it is about.  stops: whether it must be mended before the run; otherwise it is worth a look.
    """

    where: str
    what: str
    remedy: str = ""
    paths: Sequence[str] = ()
    stops: bool = True

    @property
    def line(self) -> str:
        """'synthetic gta5: 3 images without a label, first /a.png, /b.png, /c.png; add the labels'."""
        first = f", first {', '.join(self.paths[:SHOWN])}" if self.paths else ""
        return f"{self.where}: {self.what}{first}" + (f"; {self.remedy}" if self.remedy else "")


def of_files(where: str, what: str, paths: Iterable[Path], *, remedy: str, stops: bool = True) -> list[Finding]:
    """The finding about `paths`, counted; none when there are none."""
    named = tuple(str(path) for path in paths)
    return [Finding(where, f"{len(named)} {what}", remedy, named, stops)] if named else []


def verdict(findings: Sequence[Finding], *, root: Path) -> str:
    """The last line: 'ready: ...' or 'not ready: what to do'."""
    faults = [finding for finding in findings if finding.stops]
    if not faults:
        notes = f"{len(findings)} notes above; " if findings else ""
        return f"ready: {notes}next: selfsyn round --run {root} --rounds 2"
    first = faults[0].remedy or faults[0].what
    return f"not ready: mend the {len(faults)} faults above, first {faults[0].where}: {first}; then run doctor again"
