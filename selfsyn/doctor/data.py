"""The check of a run's data sets, reused from the last check if no file has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from selfsyn.config import RunConfig
from selfsyn.contents import Contents
from selfsyn.doctor.cache import FOLDER, keep, key_of, recall
from selfsyn.doctor.facts import HELD_OUT, SIZE, Facts, looked_at, of_aspects, shared
from selfsyn.doctor.findings import Finding, tolerated
from selfsyn.doctor.listing import Listing, verified
from selfsyn.layout import Layout
from selfsyn.progress import say


@dataclass(frozen=True)
class Data:
    """Facts and findings of all data sets, in the order of run.toml. cached: whether an earlier check found them."""

    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    cached: bool


def look(layout: Layout, config: RunConfig, listings: Sequence[Listing], *, everything: bool) -> Data:
    """Check all data sets. No file is opened if names, sizes and times are those of the last check of this kind.

    everything: read the pixels of every frame, not of a sample. FaultError when the result cannot be written.
    """
    path, key = layout.root / FOLDER / ("all.json" if everything else "sample.json"), key_of(listings)
    kept = recall(path, key=key)
    if kept is None:
        facts, findings = _seen(listings, everything=everything, contents=Contents(layout.inputs))
        contents = {"data_sets": [asdict(data_set) for data_set in facts], "findings": [asdict(finding) for finding in findings]}
        keep(path, contents, key=key)
    else:
        say(f"data unchanged since the last check: cached in {path}")
        facts = [Facts(**data_set) for data_set in kept["data_sets"]]
        findings = [Finding(**finding) for finding in kept["findings"]]
    real = sum(len(listing.images) for listing in listings if listing.role.where.startswith("real "))
    findings = tolerated(findings, allowed=config.teacher.spoiled_of(real))  # not cached: it depends on run.toml
    findings += of_aspects(facts, size=config.size)
    unknown = _of_merge(config, listings)
    of_each = [finding for listing in listings for finding in _of(listing, findings)]
    of_all = [finding for finding in findings if finding.where in (HELD_OUT, SIZE)]
    return Data(tuple(facts), (*of_each, *of_all, *unknown), kept is not None)


def _of_merge(config: RunConfig, listings: Sequence[Listing]) -> list[Finding]:
    """A note of names in classes.merge that no data set has: typing mistakes, or names of other data sets."""
    known = {name for listing in listings for name in listing.kind.name_of.values()}
    merged = config.classes.merge if config.classes else {}
    strange = [name for name in merged if name not in known]
    if not strange or any(finding.stops for listing in listings for finding in listing.findings):
        return []
    what = f"classes.merge has names that no data set of the run has: {', '.join(strange)}"
    near = {name for name in known if name not in config.class_list.names and name not in merged}
    return [Finding("run.toml", what, f"names that are left: {', '.join(sorted(near)) or 'none'}", stops=False)]


def _seen(listings: Sequence[Listing], *, everything: bool, contents: Contents) -> tuple[list[Facts], list[Finding]]:
    looks = [looked_at(listing, everything=everything, contents=contents) for listing in listings]
    contents.save()
    findings = [finding for looked in looks for finding in looked.findings]
    findings += shared(*([looked for looked in looks if looked.facts.where.startswith(part)] for part in ("real ", "held_out ")))
    return [looked.facts for looked in looks], findings


def _of(listing: Listing, findings: Sequence[Finding]) -> list[Finding]:
    """A data set's findings: from its names, its files, and `verify`, which reads other files too and is never cached."""
    return [*listing.findings, *(finding for finding in findings if finding.where == listing.role.where), *verified(listing)]
