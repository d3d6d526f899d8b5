"""The scores of finished entries, and pure functions for the table: means, spreads, shares of the gap."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.compare.plan import Entry
from selfsyn.errors import InputError
from selfsyn.files import read_json
from selfsyn.frame_counts import frames_of
from selfsyn.manifest import read_manifest
from selfsyn.report.verdict import gap_closed

METRICS = "metrics.json"

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Result:
    """A finished entry: its metrics.json, the manifest of its evaluation, and the wall time of its training phases in seconds."""

    entry: Entry
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    seconds: float

    @cached_property
    def frames(self) -> dict[str, NDArray[np.int64]] | None:
        """The confusion counts of each held-out frame; None where there are none, as in evaluations by earlier versions."""
        return frames_of(self.entry.layout.evaluation(self.entry.stage), self.manifest)

    @property
    def miou(self) -> float:
        """mIoU over the classes with ground truth, 0..1."""
        return float(self.metrics["miou"])


@dataclass(frozen=True)
class Line:
    """All finished seeds of a row and net."""

    results: tuple[Result, ...]

    @property
    def entry(self) -> Entry:
        """The first seed's entry."""
        return self.results[0].entry

    @property
    def mious(self) -> dict[int, float]:
        """mIoU by seed."""
        return {result.entry.seed: result.miou for result in self.results}

    def of(self, key: str) -> dict[int, float]:
        """A number of metrics.json by seed."""
        return {result.entry.seed: float(result.metrics[key]) for result in self.results}

    @property
    def class_iou(self) -> dict[str, float | None]:
        """{class: mean IoU over seeds}; None for a class without ground truth."""
        return {name: _mean_or_none(result.metrics["class_iou"][name] for result in self.results) for name in self._classes}

    @property
    def seconds(self) -> float:
        """Mean training time over seeds, in seconds."""
        return statistics.fmean(result.seconds for result in self.results)

    @property
    def _classes(self) -> Iterable[str]:
        return self.results[0].metrics["class_iou"].keys()


def collect(entries: Iterable[Entry]) -> dict[str, list[Line]]:
    """{net: a line for each row with a finished seed, in the order of the entries}."""
    found: dict[tuple[str, str], list[Result]] = {}
    for entry in entries:
        manifest = read_manifest(entry.layout.evaluation(entry.stage))
        if manifest is not None:
            path = entry.layout.evaluation(entry.stage) / METRICS
            metrics = read_json(path)
            if metrics is None:
                raise InputError(
                    f"{path}: not found, though the evaluation is finished; delete {path.parent} and run compare again"
                )
            found.setdefault((entry.net, entry.row.name), []).append(Result(entry, metrics, manifest, _seconds(entry)))
    lines: dict[str, list[Line]] = {}
    for (net, _), results in found.items():
        lines.setdefault(net, []).append(Line(tuple(results)))
    return lines


def mean(values: BySeed) -> float:
    """The mean over seeds."""
    return statistics.fmean(values.values())


def spread(values: BySeed) -> float | None:
    """The sample standard deviation over seeds (n - 1); None for one seed."""
    return statistics.stdev(values.values()) if len(values) > 1 else None


def change(values: BySeed, against: BySeed) -> tuple[float, int] | None:
    """(mean difference, number of seeds) over the common seeds; None without common seeds."""
    common = sorted(values.keys() & against.keys())
    return (statistics.fmean(values[seed] - against[seed] for seed in common), len(common)) if common else None


def gap_share(values: BySeed, *, source: BySeed, oracle: BySeed) -> tuple[float | None, int]:
    """(share of the gap from source-only to the oracle, number of seeds), from the means over the common seeds.

    The share is None if the oracle is no better than source-only, or without common seeds (number 0).
    """
    common = sorted(values.keys() & source.keys() & oracle.keys())
    if not common:
        return None, 0
    ours, low, high = (statistics.fmean(column[seed] for seed in common) for column in (values, source, oracle))
    return gap_closed(ours, source=low, oracle=high), len(common)


def line_of(lines: Sequence[Line], row: str) -> Line | None:
    """The line of the row called `row`, or None."""
    return next((line for line in lines if line.entry.row.name == row), None)


def _seconds(entry: Entry) -> float:
    manifests = (read_manifest(entry.root / phase.folder) for phase in entry.phases if phase.facts.learns)
    return sum(float(manifest["wall_seconds"]) for manifest in manifests if manifest is not None)


def _mean_or_none(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return statistics.fmean(numbers) if numbers else None
