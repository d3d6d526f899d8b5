"""The data of a run: every data set looked at, or recalled where nothing has changed since the last look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from selfsyn.config import RunConfig
from selfsyn.doctor.cache import FOLDER, keep, key_of, recall
from selfsyn.doctor.facts import HELD_OUT, Facts, looked_at, shared
from selfsyn.doctor.findings import Finding, tolerated
from selfsyn.doctor.listing import Listing, verified
from selfsyn.layout import Layout
from selfsyn.progress import say


@dataclass(frozen=True)
class Data:
    """What the data sets hold and what is wrong with them, in the order of run.toml. cached: from an earlier look."""

    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    cached: bool


def look(layout: Layout, config: RunConfig, listings: Sequence[Listing], *, everything: bool) -> Data:
    """Look at all data sets; files are opened only where a name, size or time has changed since the last look of this kind.

    everything: the pixels of every frame, instead of a bounded number. FaultError when the result cannot be written.
    """
    path, key = layout.root / FOLDER / ("all.json" if everything else "sample.json"), key_of(listings)
    kept = recall(path, key=key)
    if kept is None:
        facts, findings = _seen(listings, everything=everything)
        keep(path, {"data_sets": [asdict(one) for one in facts], "findings": [asdict(one) for one in findings]}, key=key)
    else:
        say(f"data unchanged since the last look: cached in {path}")
        facts, findings = [Facts(**one) for one in kept["data_sets"]], [Finding(**one) for one in kept["findings"]]
    real = sum(len(listing.images) for listing in listings if listing.role.where.startswith("real "))
    findings = tolerated(findings, allowed=config.teacher.spoiled_of(real))  # after the cache, which does not depend on it
    of_each = [one for listing in listings for one in _of(listing, findings)]
    return Data(tuple(facts), (*of_each, *(one for one in findings if one.where == HELD_OUT)), kept is not None)


def _seen(listings: Sequence[Listing], *, everything: bool) -> tuple[list[Facts], list[Finding]]:
    looks = [looked_at(listing, everything=everything) for listing in listings]
    findings = [finding for one in looks for finding in one.findings]
    findings += shared(*([one for one in looks if one.facts.where.startswith(part)] for part in ("real ", "held_out ")))
    return [one.facts for one in looks], findings


def _of(listing: Listing, findings: Sequence[Finding]) -> list[Finding]:
    """A data set's findings: of its names, of its files, and of `verify`, which reads other files too: never cached."""
    return [*listing.findings, *(one for one in findings if one.where == listing.role.where), *verified(listing)]
