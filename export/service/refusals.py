"""An answer that is an error: a status, and one line that says what we got, what we expected and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

CLIENT_GONE: Final = 499  # nobody reads it but the metrics


class Refusal(Exception):
    """Ends a request with `status` and {"error": message}."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        """headers: to go with it."""
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def answer(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response of an error: every one of ours looks like this."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _on_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return answer(error.status, str(error), headers=error.headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:80]}: {error.detail.lower()}; see GET /v2 and the page at /"
    return answer(error.status_code, message, headers=error.headers)


async def _on_gone(request: Request, error: Exception) -> JSONResponse:
    return answer(CLIENT_GONE, "the client went away")


async def _on_fault(request: Request, error: Exception) -> JSONResponse:
    return answer(500, f"a fault of ours ({type(error).__name__}); the server's log has more")


# What Starlette calls for each kind of exception that ends a request; the last for any that is not ours.
HANDLERS: Final[dict[Any, Callable[[Request, Exception], Awaitable[JSONResponse]]]] = {
    Refusal: _on_refusal,
    HTTPException: _on_http,
    ClientDisconnect: _on_gone,
    Exception: _on_fault,
}
