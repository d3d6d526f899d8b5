"""Admission: a limited number of requests at once, each in limited time and only while its client waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect, Request

from export.service.limits import Limits
from export.service.metrics import Metrics
from export.service.refusals import Refusal

T = TypeVar("T")

RETRY_SECONDS: Final = 1


class Admission:
    """Counts the requests in the server: being read, waiting, computed or answered."""

    def __init__(self, limits: Limits, *, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.inside = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the server while the block runs. Refusal 429, with the seconds to wait, when all places are taken."""
        if self.inside >= self.limits.requests:
            message = f"{self.inside} requests in the server, which is the limit; try again in {RETRY_SECONDS} s"
            raise Refusal(429, message, headers={"retry-after": str(RETRY_SECONDS)})
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Refusal 504 when the block takes too long."""
        try:
            async with asyncio.timeout(self.limits.answer):
                yield
        except TimeoutError as error:
            raise Refusal(504, f"not answered in {self.limits.answer:g} s; send fewer or smaller images") from error

    def _count(self, more: int) -> None:
        self.inside += more
        self.metrics.admitted.set(self.inside)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects. Call it after the request's body was read."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()
