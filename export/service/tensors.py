"""Infer requests and responses of the Open Inference Protocol v2: JSON, or JSON followed by binary tensors.

The binary form is Triton's extension: the header Inference-Header-Content-Length gives the length of the JSON; the tensors follow
it in order, row by row, each binary_data_size bytes long.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from export import contract
from export.service.limits import Limits
from export.service.refusals import Refusal

HEADER: Final = "inference-header-content-length"
DATATYPE: Final = "UINT8"
CHANNELS: Final = 3
# Parameters that ask for more than plain inference: ignoring them would answer another question.
UNSUPPORTED: Final = ("shared_memory_region", "classification", "sequence_id")

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """A requested output."""

    name: str
    binary: bool


@dataclass(frozen=True)
class Asked:
    """One infer request. images: (B, H, W, 3) uint8 RGB, a view of the body where it came as bytes."""

    id: str | None
    images_BHWC: NDArray[np.uint8]
    wanted: tuple[Wanted, ...]


def parsed(body: bytes, *, header_length: str | None, limits: Limits, largest: int) -> Asked:
    """The request in `body`. header_length: the value of HEADER, None without it.  largest: limit of an image's pixels.

    Refusal 400 for anything that is not a request for this model, 413 for too large an image or too many images.
    """
    head, tail = _split(body, header_length)
    request = _json(head)
    parameters = _parameters(request)
    id_ = _of(request, "id", str, where="the request")
    inputs = _of(request, "inputs", list, where="the request") or []
    if len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, f"{len(inputs)} inputs; expected one, named {contract.IMAGE!r}")
    shape = _shape(inputs[0], limits=limits, largest=largest)
    images = _images(inputs[0], shape=shape, tail=tail, binary=header_length is not None)
    wanted = _wanted(request, binary=bool(parameters.get("binary_data_output", False)))
    return Asked(id_, images, wanted)


def encoded(asked: Asked, answers: Mapping[str, NDArray[np.uint8]], *, version: int, digest: str) -> tuple[bytes, dict[str, str]]:
    """-> the response's body and headers. answers: (B, H, W) uint8 by output name."""
    outputs, tail = [], []
    for output in asked.wanted:
        array = answers[output.name]
        entry: dict[str, Any] = {"name": output.name, "datatype": DATATYPE, "shape": list(array.shape)}
        if output.binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            tail.append(array.tobytes())
        else:
            entry["data"] = array.ravel().tolist()
        outputs.append(entry)
    answer = {"model_name": contract.MODEL_NAME, "model_version": str(version)}
    answer |= {"id": asked.id} if asked.id is not None else {}
    head = json.dumps(answer | {"parameters": {"model_digest": digest}, "outputs": outputs}, separators=(",", ":")).encode()
    if not tail:
        return head, {"content-type": "application/json"}
    return b"".join([head, *tail]), {"content-type": "application/octet-stream", HEADER: str(len(head))}


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    if not (header_length.isascii() and header_length.isdecimal()) or len(header_length) > 12:
        raise Refusal(400, f"Inference-Header-Content-Length {header_length[:40]!r}; expected the length of the JSON in bytes")
    length = int(header_length)
    if length > len(body):
        raise Refusal(400, f"Inference-Header-Content-Length {length}, but the body has {len(body)} bytes")
    return body[:length], body[length:]


def _json(head: bytes) -> dict[str, Any]:
    try:
        value = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the request is not JSON ({type(error).__name__}: {str(error)[:120]})") from error
    if not isinstance(value, dict):
        raise Refusal(400, f"the request is a JSON {type(value).__name__}; expected an object with inputs")
    return value


def _of(holder: Mapping[str, Any], key: str, kind: type[T], *, where: str) -> T | None:
    value = holder.get(key)
    if value is not None and not isinstance(value, kind):
        raise Refusal(400, f"{where}: {key} is {reprlib.repr(value)}; expected a {kind.__name__}")
    return value


def _parameters(holder: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _of(holder, "parameters", dict, where="the request") or {}
    for name in UNSUPPORTED:
        if parameters.get(name):
            raise Refusal(400, f"parameter {name} is not supported; leave it out")
    return parameters


def _shape(entry: Mapping[str, Any], *, limits: Limits, largest: int) -> tuple[int, ...]:
    if entry.get("name") != contract.IMAGE:
        raise Refusal(400, f"input {reprlib.repr(entry.get('name'))}; expected {contract.IMAGE!r}")
    if entry.get("datatype") != DATATYPE:
        raise Refusal(
            400, f"datatype {reprlib.repr(entry.get('datatype'))}; expected {DATATYPE}; the model normalises colours itself"
        )
    shape = entry.get("shape")
    if not _is_shape(shape):
        raise Refusal(400, f"shape {reprlib.repr(shape)}; expected [batch, height, width, {CHANNELS}], each above 0")
    batch, height, width, _ = shape
    if batch > limits.images:
        raise Refusal(413, f"{batch} images in one request; expected at most {limits.images}; send several requests")
    if height * width > largest:
        raise Refusal(413, f"an image of {width}x{height}; expected at most {largest} pixels; shrink it")
    return tuple(shape)


def _is_shape(shape: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and len(shape) == 4
        and all(type(size) is int and size > 0 for size in shape)
        and shape[3] == CHANNELS
    )


def _images(entry: Mapping[str, Any], *, shape: tuple[int, ...], tail: bytes, binary: bool) -> NDArray[np.uint8]:
    count = math.prod(shape)
    size = _parameters(entry).get("binary_data_size")
    if size is None:
        if tail:
            raise Refusal(400, f"{len(tail)} bytes after the JSON, but no input has binary_data_size")
        return _from_json(entry.get("data"), shape=shape)
    if not binary or type(size) is not int or not size == count == len(tail):
        raise Refusal(
            400,
            f"binary_data_size {reprlib.repr(size)} of shape {list(shape)}, and {len(tail)} bytes after the JSON;"
            f" expected {count} for both, and the header Inference-Header-Content-Length",
        )
    return np.frombuffer(tail, np.uint8).reshape(shape)


def _from_json(data: Any, *, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        values = np.array(data if isinstance(data, list) else [None])
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refusal(400, f"data is not an array of one shape ({str(error)[:80]})") from error
    if values.dtype.kind not in "iu" or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise Refusal(400, "data holds other values than whole numbers from 0 to 255")
    if values.shape not in (shape, (math.prod(shape),)):
        raise Refusal(400, f"data of shape {list(values.shape)}; expected {list(shape)}, or a flat list")
    return values.astype(np.uint8).reshape(shape)


def _wanted(request: Mapping[str, Any], *, binary: bool) -> tuple[Wanted, ...]:
    known = (contract.LABEL, contract.CONFIDENCE)
    entries = _of(request, "outputs", list, where="the request")
    if not entries:
        return tuple(Wanted(name, binary) for name in known)
    wanted: list[Wanted] = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if name not in known or any(name == other.name for other in wanted):
            raise Refusal(400, f"output {reprlib.repr(name)}; expected {' or '.join(known)}, each once")
        wanted.append(Wanted(str(name), bool(_parameters(entry).get("binary_data", binary))))
    return tuple(wanted)
