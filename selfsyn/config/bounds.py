"""The kinds of values that run.toml holds, with their ranges."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from selfsyn.errors import InputError

Whole = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]  # both ends included
Fraction = Annotated[float, Meta(gt=0, le=1)]
Below1 = Annotated[float, Meta(ge=0, lt=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Filled = Annotated[str, Meta(min_length=1)]
Positive = Annotated[float, Meta(gt=0)]


def require(condition: bool, message: str) -> None:
    """InputError about run.toml unless `condition` holds."""
    if not condition:
        raise InputError(f"run.toml: {message}")
