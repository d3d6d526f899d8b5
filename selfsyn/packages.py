"""Which packages are installed, without importing them."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from importlib.util import find_spec

IMAGE = "SELFSYN_IMAGE"  # our container images set it to their name


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def image() -> str:
    """The name of the container image that this process runs in, for example 'selfsyn-teacher'; '' outside of our images."""
    return os.environ.get(IMAGE, "")


def remedy(outside: str, *, in_image: str) -> str:
    """What to do, depending on where the process runs: nobody can install a package in a container of ours."""
    return in_image if image() else outside


def require(package: str) -> None:
    """ModuleNotFoundError unless the package is installed; does not import it."""
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
