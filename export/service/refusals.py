"""Error responses: a status, and one line that says what we got, what we expected and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

CLIENT_GONE: Final = 499  # for the metrics only


class Refusal(Exception):
    """Ends a request with `status` and {"error": message}."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        """headers: of the response."""
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def answer(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The JSON response of every error."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _on_refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return answer(error.status, str(error), headers=error.headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:80]}: {error.detail.lower()}; see GET /v2 and the page at /"
    return answer(error.status_code, message, headers=error.headers)


async def _on_gone(request: Request, error: Exception) -> JSONResponse:
    return answer(CLIENT_GONE, "the client disconnected")


async def _on_fault(request: Request, error: Exception) -> JSONResponse:
    return answer(500, f"an internal error ({type(error).__name__}); see the server's log")


# Starlette's handler for each kind of exception; the last one is for all others.
HANDLERS: Final[dict[Any, Callable[[Request, Exception], Awaitable[JSONResponse]]]] = {
    Refusal: _on_refusal,
    HTTPException: _on_http,
    ClientDisconnect: _on_gone,
    Exception: _on_fault,
}
