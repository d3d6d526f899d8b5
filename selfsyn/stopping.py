"""SIGTERM asks a phase to stop: it finishes its step, writes what it has, and exits 143."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
EXIT_CODE = 128 + signal.SIGTERM


class Stopping:
    """Remembers that SIGTERM came. Loops ask `requested` after each step."""

    def __init__(self) -> None:
        """Install the handler; the main thread only."""
        self.requested = False
        signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def watched(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each followed by exit_if_requested."""
        for item in items:
            yield item
            self.exit_if_requested()

    def exit_if_requested(self) -> None:
        """Leave with 143 when SIGTERM came. Call it when everything done so far is on the disk."""
        if self.requested:
            raise SystemExit(EXIT_CODE)
