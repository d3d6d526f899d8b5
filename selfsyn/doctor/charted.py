"""The data sets for the doctor's page of charts, with the same figures as in the run's report."""

from __future__ import annotations

from collections.abc import Sequence

from selfsyn.doctor.facts import Facts
from selfsyn.doctor.listing import Listing
from selfsyn.doctor.summary import sizes
from selfsyn.report.domains import Domain, colours_of, labels_of
from selfsyn.report.svg import COLOUR

COLOURS = ("source", "ramp-12", "oracle", "ink", "ramp-6", "muted")


def domains(listings: Sequence[Listing], *, size: tuple[int, int]) -> list[Domain]:
    """Statistics of each data set at working size (width, height). InputError for an unreadable label."""
    return [
        Domain(
            listing.role.where,
            COLOUR[COLOURS[place % len(COLOURS)]],
            labels_of({name: label for name, (_, label) in listing.pairs.items()}, listing.kind, size=size),
            colours_of(listing.images, size=size),
        )
        for place, listing in enumerate(listings)
    ]


def words(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    """(data set, its contents in words) in the order of run.toml."""
    return [(data.where, f"{data.root}: {data.images} images of {sizes(data)}, {data.labels} labels") for data in facts]
