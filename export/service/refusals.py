"""An answer that is an error: a status, and one line that says what we got, what we expected and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
