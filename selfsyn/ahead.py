"""Work in threads, ahead of its consumer. Unlike processes, threads start at once and need no shared memory, which containers
lack; decoding, resizing, encoding and array arithmetic release the interpreter's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from selfsyn.cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T], *, threads: ThreadPoolExecutor, most: int) -> Iterator[R]:
    """map(work, items) in order, with at most `most` results pending, so memory is bounded.

    An error is raised at its place in the order; later work is cancelled.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def on_all_cores(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`ahead` with a thread for each core that this process may use."""
    cores = usable_cores()
    with ThreadPoolExecutor(cores) as threads:
        yield from ahead(work, items, threads=threads, most=2 * cores)
