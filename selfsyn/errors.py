"""The failures that a user can act on; the command line turns each into one line and an exit code."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong input or configuration: the message says what we got, what we expected and what to do. Exit code 2."""

    exit_code = 2


class NotReadyError(RuntimeError):
    """An upstream artifact is missing or unfinished: the message names the phase that makes it. Exit code 3."""

    exit_code = 3


class FaultError(RuntimeError):
    """A fault of the machine or of the arithmetic (full disk, non-finite loss): retried by an orchestrator. Exit code 1."""

    exit_code = 1
