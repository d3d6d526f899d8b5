"""A stage is a training of a run: a bound (source-only, oracle) or a round."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(r"source-only|oracle|round-(0|[1-9]\d*)")


@dataclass(frozen=True)
class Stage:
    """A stage. name: 'source-only', 'oracle', 'round-0', 'round-1', ..., also the name of its folder.

    ValueError for any other name.
    """

    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no stage; expected source-only, oracle or round-K")

    def __str__(self) -> str:
        return self.name

    @property
    def round(self) -> int | None:
        """K of round K; None for a bound."""
        return None if self.is_bound else int(self.name.removeprefix("round-"))

    @property
    def is_bound(self) -> bool:
        """Whether this is source-only or the oracle."""
        return not self.name.startswith("round-")

    @property
    def title(self) -> str:
        """The name in texts: 'round 1', 'oracle'."""
        return self.name.replace("round-", "round ")

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command-line options for the stage: --round 1, or --bound oracle."""
        return ("--bound", self.name) if self.is_bound else ("--round", str(self.round))


SOURCE_ONLY = Stage("source-only")
ORACLE = Stage("oracle")


def parse(name: str) -> Stage | None:
    """The stage called `name`, or None for any other name."""
    return Stage(name) if NAME.fullmatch(name) else None


def round_stage(round_: int) -> Stage:
    """1 -> the stage round-1."""
    return Stage(f"round-{round_}")
