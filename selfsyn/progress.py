"""Progress: a bar on a terminal, timed lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINE_SECONDS = 10.0

_BEGAN = time.monotonic()


def clock() -> float:
    """When the clock of `say` began, in seconds of time.monotonic()."""
    return _BEGAN


def set_clock(began: float) -> None:
    """Let the clock of `say` have begun with that of another process on this machine."""
    global _BEGAN
    _BEGAN = began


def say(message: str) -> None:
    """Write a line to stderr, with the seconds since the program began."""
    tqdm.write(f"[{time.monotonic() - _BEGAN:6.1f} s] {message}", file=sys.stderr)


@contextmanager
def counter(*, total: int, label: str, first: int = 0, note: Callable[[], str] = str) -> Iterator[Callable[[], None]]:
    """A function to call after each of `total` items. first: items of an earlier attempt.  note: more text to show."""
    if sys.stderr.isatty():
        with tqdm(total=total, initial=first, desc=label, dynamic_ncols=True) as bar:

            def done() -> None:
                bar.set_postfix_str(note(), refresh=False)
                bar.update()

            yield done
    else:
        yield _Lines(total=total, label=label, first=first, note=note).done


def track(items: Iterable[T], *, total: int, label: str, first: int = 0, note: Callable[[], str] = str) -> Iterator[T]:
    """Yield the items and show progress; see `counter`."""
    with counter(total=total, label=label, first=first, note=note) as done:
        for item in items:
            yield item
            done()


class _Lines:
    """A line every LINE_SECONDS, and at the end."""

    def __init__(self, *, total: int, label: str, first: int, note: Callable[[], str]) -> None:
        self.note = note
        self.total, self.label, self.first, self.count = total, label, first, first
        self.began = self.last = time.monotonic()

    def done(self) -> None:
        self.count += 1
        now = time.monotonic()
        if now - self.last < LINE_SECONDS and self.count < self.total:
            return
        rate = (self.count - self.first) / max(now - self.began, 1e-9)
        left = (self.total - self.count) / rate
        parts = [f"{self.label}: {self.count}/{self.total}", f"{rate:.3g}/s", self.note()]
        parts += [f"{left:.0f} s left"] if self.count < self.total else []
        say(", ".join(part for part in parts if part))
        self.last = now
