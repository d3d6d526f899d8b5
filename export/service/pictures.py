"""Pictures in and out: decoding for `predict`, and its views."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.service.limits import Limits
from export.service.refusals import Refusal
from selfsyn.classes import ClassList
from selfsyn.errors import InputError
from selfsyn.images import decode_image, encode_jpeg, encode_label_png, encode_png, resize_image, resize_label
from selfsyn.labels import colourise
from selfsyn.pseudo_labels import LEVELS, histogram

MAGIC: Final = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
START_OF_SCAN: Final = b"\xff\xda"
OVERLAY: Final = 0.55  # opacity of the colours
OVERLAY_QUALITY: Final = 90
JSON: Final = "application/json"
PNG: Final = "image/png"
JPEG: Final = "image/jpeg"


@dataclass(frozen=True)
class Picture:
    """A decoded picture. image: (height, width, 3) uint8 RGB at the teacher's size.  size: the original (width, height)."""

    image: NDArray[np.uint8]
    size: tuple[int, int]


@dataclass(frozen=True)
class Answered:
    """A labelled picture. data: its file.  size: of the file.  label, confidence: (height, width) uint8 at the teacher's size."""

    data: bytes
    size: tuple[int, int]
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    version: int
    digest: str
    classes: ClassList


def decoded(data: bytes, *, size: tuple[int, int], limits: Limits) -> Picture:
    """The bytes of a JPEG or PNG -> the picture, upright and resized to `size` (width, height), as for labelling.

    Before any pixel is decoded: Refusal 415 for another file type, 413 for too many pixels or scans. 400 for a damaged file.
    """
    _refuse_costly(data, limits=limits)
    try:
        image = decode_image(data)
    except InputError as error:
        raise Refusal(400, f"{str(error).split(';')[0]}; send a whole JPEG or PNG") from error
    except Exception as error:  # a hostile file may make the decoders raise anything
        raise Refusal(400, f"image: cannot be decoded ({type(error).__name__}); send a whole JPEG or PNG") from error
    height, width, _ = image.shape
    return Picture(resize_image(image, size=size), (width, height))


def label_view(answered: Answered) -> tuple[bytes, str]:
    """The label at the picture's own size: a palette PNG whose index is the train id."""
    return encode_label_png(resize_label(answered.label, size=answered.size), answered.classes), PNG


def confidence_view(answered: Answered) -> tuple[bytes, str]:
    """The confidence at the picture's own size: a grey PNG, 255 means 1."""
    return encode_png(resize_label(answered.confidence, size=answered.size)), PNG


def overlay_view(answered: Answered) -> tuple[bytes, str]:
    """The picture with its label's colours over it, for a person: JPEG."""
    colours = resize_label(colourise(answered.label, answered.classes), size=answered.size)
    blend = cv2.addWeighted(colours, OVERLAY, decode_image(answered.data), 1 - OVERLAY, 0)
    return encode_jpeg(blend.astype(np.uint8, copy=False), quality=OVERLAY_QUALITY), JPEG


def json_view(answered: Answered) -> tuple[bytes, str]:
    """Class shares and confidences, and both maps as PNG in base64 at the teacher's size, for a program: JSON."""
    value = {
        "model_version": str(answered.version),
        "model_digest": answered.digest,
        "width": answered.size[0],
        "height": answered.size[1],
        "confidence": round(float(answered.confidence.mean()) / 255, 4),
        "classes": shares(answered.label, answered.confidence, classes=answered.classes),
        "label_png": base64.b64encode(encode_label_png(answered.label, answered.classes)).decode(),
        "confidence_png": base64.b64encode(encode_png(answered.confidence)).decode(),
    }
    return json.dumps(value).encode(), JSON


View = Callable[[Answered], tuple[bytes, str]]
VIEWS: Final[dict[str, View]] = {
    "label": label_view,
    "confidence": confidence_view,
    "overlay": overlay_view,
    "json": json_view,
}


def shares(label: NDArray[np.uint8], confidence: NDArray[np.uint8], *, classes: ClassList) -> list[dict[str, Any]]:
    """The classes that occur, the largest first: train id, name, colour, share of the pixels and mean confidence, 0..1."""
    counts = histogram(label, confidence, classes=len(classes))
    pixels = counts.sum(axis=1)
    means = counts @ np.arange(LEVELS) / np.maximum(pixels, 1) / (LEVELS - 1)
    order = sorted(range(len(classes)), key=lambda train_id: -pixels[train_id])
    return [
        {
            "id": train_id,
            "name": classes.names[train_id],
            "colour": classes.hexes[train_id],
            "share": round(float(pixels[train_id] / label.size), 6),
            "confidence": round(float(means[train_id]), 4),
        }
        for train_id in order
        if pixels[train_id]
    ]


def _refuse_costly(data: bytes, *, limits: Limits) -> None:
    kind = next((name for magic, name in MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise Refusal(415, f"a file with the first bytes {data[:8].hex() or 'missing'}; expected a JPEG or a PNG")
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as header:
            width, height = header.size
    except Exception as error:  # as in `decoded`
        raise Refusal(400, f"image: not a readable {kind} ({type(error).__name__}); send a whole {kind}") from error
    if width * height > limits.image:
        raise Refusal(413, f"an image of {width}x{height}; expected at most {limits.image} pixels; shrink it")
    # The marker cannot occur in compressed data, and only a few times in thumbnails and comments.
    if kind == "JPEG" and data.count(START_OF_SCAN) > limits.scans:
        raise Refusal(413, f"a JPEG of {data.count(START_OF_SCAN)} scans; expected at most {limits.scans}; save it with fewer")
