"""The doctor's output in text: tables of data sets and class shares, lines of findings."""

from __future__ import annotations

from collections.abc import Sequence

from selfsyn.config import RunConfig
from selfsyn.doctor.facts import Facts
from selfsyn.doctor.findings import Finding
from selfsyn.doctor.machine import amount

SIZES = 3  # image sizes in the table; report.json has all


def data_sets(facts: Sequence[Facts]) -> list[str]:
    """A row for each data set: counts, bytes, frames whose pixels were read, sizes."""
    rows = [["data set", "layout", "images", "labels", "on disk", "pixels read", "sizes"]]
    for data in facts:
        rows.append([data.where, data.layout, *_counts(data), "-" if data.to_come else f"{data.looked_at}", sizes(data)])
    return table(rows, left=(0, 1, 6))


def class_shares(facts: Sequence[Facts]) -> list[str]:
    """A row for each class and for 'ignore', a column for each data set with checked labels, in percent.

    '-' stands for a class that never occurs.
    """
    shown = [data for data in facts if data.shares]
    if not shown:
        return []
    rows = [["class, percent of pixels", *(data.where for data in shown)]]
    rows += [[name, *(_percent(data.shares[name]) for data in shown)] for name in shown[0].shares]
    return table(rows, left=(0,))


def borders(config: RunConfig) -> list[str]:
    """A line for each real source with a border that gets no pseudo-labels."""
    said = []
    for source in config.real:
        (width, height), (top, right, bottom, left) = config.size, source.border
        share = 1 - (width - left - right) * (height - top - bottom) / (width * height)
        if share:
            edges = f"top {top}, right {right}, bottom {bottom}, left {left} of {width}x{height} pixels"
            said.append(f"real {source.called}: no pseudo-labels in the border, {edges}: {share:.0%} of each image")
    return said


def findings(found: Sequence[Finding]) -> list[str]:
    """Faults, then notes, each under a title."""
    faults, notes = [finding.line for finding in found if finding.stops], [finding.line for finding in found if not finding.stops]
    lines = ["", "correct before the run:", *faults] if faults else []
    return lines + (["", "notes:", *notes] if notes else [])


def table(rows: Sequence[Sequence[str]], *, left: tuple[int, ...]) -> list[str]:
    """Rows of cells -> aligned lines; columns in `left` are left-aligned, the others right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(_cell(cell, widths[i], i in left) for i, cell in enumerate(row)).rstrip() for row in rows]


def _cell(text: str, width: int, is_left: bool) -> str:
    return text.ljust(width) if is_left else text.rjust(width)


def _counts(data: Facts) -> tuple[str, str, str]:
    if data.to_come:
        return f"{data.to_come}", "-", "-"
    return f"{data.images}", f"{data.labels}" if data.labelled else "-", amount(data.image_bytes)


def sizes(data: Facts) -> str:
    """'1914x1052 (24966), 1912x1052 (34)'."""
    if data.to_come:
        return "not rendered yet: run `selfsyn world`"
    named = [f"{size} ({count})" if len(data.sizes) > 1 else size for size, count in data.sizes.items()]
    return ", ".join(named[:SIZES]) + (f" and {len(named) - SIZES} others" if len(named) > SIZES else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if share else "-"
