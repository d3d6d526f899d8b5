"""Data sets whose files are no longer those that a phase of the run was made from."""

from __future__ import annotations

from selfsyn.config import RunConfig
from selfsyn.contents import by_names_and_sizes, changes
from selfsyn.data import sources
from selfsyn.doctor.findings import Finding
from selfsyn.errors import InputError
from selfsyn.flow import phases
from selfsyn.layout import Layout
from selfsyn.phase import inputs_of
from selfsyn.verbs import HELD_OUT, REAL, REAL_WITH_LABELS, SYNTHETIC

REMEDY = "restore the files, or start these phases over with --force"


def changed(layout: Layout, config: RunConfig) -> list[Finding]:
    """A finding for each data set that has changed since phases read it: the files, and the phases. [] in a new run."""
    readers: dict[tuple[str, str], list[str]] = {}
    for phase in phases(config, rounds=len(config.rounds.real_share) - 1, with_bounds=True):
        for inputs in inputs_of(layout, phase):
            for name in inputs.keys() & {SYNTHETIC, REAL, REAL_WITH_LABELS, HELD_OUT}:
                readers.setdefault((name, inputs[name]), []).append(phase.name)
    return [finding for (name, before), by in sorted(readers.items()) for finding in _of(layout, config, name, before, by)]


def _of(layout: Layout, config: RunConfig, name: str, before: str, by: list[str]) -> list[Finding]:
    try:
        now = sources.digests(layout, config, [name])[name]
    except InputError:  # a finding of its own
        return []
    if before in (now, by_names_and_sizes(layout.inputs, now)):
        return []
    what = changes(layout.inputs, before, now) or "other names or sizes"
    phases_told = ", ".join(dict.fromkeys(by))
    return [Finding(name, f"data that has changed since it was read by {phases_told} ({what})", REMEDY)]
