"""Print a table of finished runs: held-out mIoU and pixel accuracy of each stage, and the share of the gap that is closed.

    python benchmarks/table.py RUN [RUN ...]

Reads only run.toml and metrics.json. The runs may differ only in their seed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from selfsyn.config import RunConfig, difference, load
from selfsyn.layout import Layout
from selfsyn.stage import ORACLE, SOURCE_ONLY

Scores = dict[str, tuple[float, float]]


def scores_of(run: Path) -> Scores:
    """stage -> (mIoU, pixel accuracy), in the order source-only, round-0, round-1, ..., oracle."""
    found = {path.parent.parent.name: json.loads(path.read_text()) for path in run.glob("*/evaluation/metrics.json")}
    order = [SOURCE_ONLY.name, *sorted(name for name in found if name.startswith("round-")), ORACLE.name]
    return {stage: (found[stage]["miou"], found[stage]["pixel_accuracy"]) for stage in order if stage in found}


def gap_closed(scores: Scores) -> float | None:
    """(last round - source-only) / (oracle - source-only) in mIoU; None without an oracle."""
    if ORACLE.name not in scores:
        return None
    last = [miou for stage, (miou, _) in scores.items() if stage.startswith("round-")][-1]
    return (last - scores[SOURCE_ONLY.name][0]) / (scores[ORACLE.name][0] - scores[SOURCE_ONLY.name][0])


def row_of(config: RunConfig, scores: Scores) -> str:
    """A Markdown row: seed, each stage's mIoU / pixel accuracy, gap closed."""
    closed = gap_closed(scores)
    cells = [f"{miou:.3f} / {accuracy:.3f}" for miou, accuracy in scores.values()]
    return "| " + " | ".join([str(config.seed), *cells, "-" if closed is None else f"{closed:.0%}"]) + " |"


def main(runs: list[Path]) -> None:
    """Print the table. SystemExit when the runs differ in more than the seed, or in their stages."""
    configs = [load(Layout(run).configuration) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        others = [line for line in difference(configs[0], config) if not line.startswith("seed:")]
        if others:
            raise SystemExit(f"{run}: differs from {runs[0]} in {others[0]}; expected runs that differ only in the seed")
    tables = [scores_of(run) for run in runs]
    if len({tuple(table) for table in tables}) != 1:
        raise SystemExit(f"the runs have different stages: {[list(table) for table in tables]}; finish them first")
    print("| seed | " + " | ".join(tables[0]) + " | gap closed |")
    print("|---" * (len(tables[0]) + 2) + "|")
    for config, table in zip(configs, tables, strict=True):
        print(row_of(config, table))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
