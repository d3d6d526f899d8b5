"""SIGTERM: a phase finishes its step, saves its state and exits with 143."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
EXIT_CODE = 128 + signal.SIGTERM


class Stopping:
    """Records SIGTERM in `requested`, which loops check after each step."""

    def __init__(self) -> None:
        """Install the signal handler; only in the main thread."""
        self.requested = False
        signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def watched(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and call exit_if_requested after each."""
        for item in items:
            yield item
            self.exit_if_requested()

    def exit_if_requested(self) -> None:
        """Exit with 143 after SIGTERM. Call it when everything done so far is on the disk."""
        if self.requested:
            raise SystemExit(EXIT_CODE)
