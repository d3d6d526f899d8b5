"""What the flags of `selfsyn k8s render` may be: the rules of Kubernetes and of image references, before a cluster sees them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from decimal import Decimal

from selfsyn.config import RunConfig
from selfsyn.config.task import WEIGHTS
from selfsyn.errors import InputError

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"  # RFC 1123
QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)}
UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)}
CPUS = (Decimal("0.001"), Decimal(1024))
MEMORY = (Decimal(2**24), Decimal(2**50))  # 16Mi, less than Python needs, to 1Pi
REGISTRY = re.compile(r"[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?")
TAG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")  # of an image, and the value of a label


def check_name(flag: str, value: str) -> None:
    """InputError unless `value` is a name that Kubernetes takes for a namespace or a volume claim."""
    if not re.fullmatch(LABEL, value):
        raise InputError(f"got {flag} {value!r}; expected small letters, digits and hyphens, at most 63, for example team-a")


def check_cpu(value: str) -> None:
    """InputError unless `value` is a quantity of CPU between 1m and 1024."""
    _check_quantity("--cpu", value, *CPUS, expected="cores, for example 500m or 8")


def check_memory(value: str) -> None:
    """InputError unless `value` is a quantity of memory between 16Mi and 1Pi."""
    _check_quantity("--memory", value, *MEMORY, expected="bytes, for example 8Gi or 512Mi")


def check_registry(value: str) -> None:
    """InputError unless `value` is empty or begins a reference to an image."""
    if value and not REGISTRY.fullmatch(value):
        raise InputError(f"got --registry {value!r}; expected HOST[:PORT][/PATH] without https://, for example ghcr.io/somebody")


def check_tag(value: str) -> None:
    """InputError unless `value` is both a tag of an image and the value of a label."""
    if not TAG.fullmatch(value):
        raise InputError(
            f"got --tag {value!r}; expected at most 63 letters, digits, '.', '_' and '-', the first and the last a letter or a"
            " digit, for example 0.1.0"
        )


def check_paths(config: RunConfig, *, folder: str, volume: str) -> None:
    """InputError unless every path of the configuration is on the volume. folder: the run folder, for relative paths.

    Both are paths in the pods, where `volume` is mounted.
    """
    for key, path in _paths(config):
        where = posixpath.normpath(posixpath.join(folder, path))
        if path.startswith("~") or not (where == volume or where.startswith(f"{volume}/")):
            raise InputError(
                f"{key} is {path!r}; expected a path below {volume}, where the pods see the volume: copy the data there, and give"
                f" for example {volume}/{posixpath.basename(path.rstrip('/')) or 'gta5'}"
            )


def check_gpus(config: RunConfig, *, gpus: int, round_: int) -> None:
    """InputError unless `gpus` processes can share each batch of that round, and of round 0, which round 1 brings along."""
    for number in {0, 1} if round_ == 1 else {round_}:
        real = config.real_in_batch(number)
        if config.train.batch % gpus or real % gpus:
            raise InputError(
                f"got --gpus {gpus}, but a batch of round {number} has {config.train.batch} images, {real} of them real; expected"
                " two multiples of the number of GPUs: take fewer, or set train.batch and rounds.real_share"
            )


def _check_quantity(flag: str, value: str, least: Decimal, most: Decimal, *, expected: str) -> None:
    found = QUANTITY.fullmatch(value)
    amount = Decimal(found["number"]) * UNITS[found["unit"] or ""] if found else Decimal(-1)
    if not least <= amount <= most:
        raise InputError(f"got {flag} {value!r}; expected a Kubernetes quantity of {expected}")


def _paths(config: RunConfig) -> Iterator[tuple[str, str]]:
    """The paths in a configuration, with their keys."""
    for role in ("synthetic", "real"):
        for source in getattr(config, role):
            yield from ((f"{role}.root", source.root), (f"{role}.files", source.files or "."))
    if config.held_out:
        yield from (("held_out.root", config.held_out.root), ("held_out.files", config.held_out.files or "."))
    for net in config.nets:
        if net.weights not in WEIGHTS:
            yield f"{net.section}.weights", net.weights
