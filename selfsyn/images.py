"""Image and label codecs: bytes to arrays and back. Every error names the file. Never imports torch."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from selfsyn.errors import InputError
from selfsyn.labels import IGNORE, colourise

cv2.setNumThreads(1)  # the jobs have their own threads


class UnreadableError(InputError):
    """An image file that cannot be read. reason: why, without the path; the same file always gives the same words."""

    def __init__(self, name: str, *, reason: str, remedy: str) -> None:
        """name: the file."""
        super().__init__(f"{name}: {reason}; {remedy}")
        self.reason = reason


ORIENTATION = 0x0112  # the EXIF tag
DAMAGED = b"damaged"
TURNS_A_PNG = (b"eXIf", b"tEXt", b"iTXt", b"zTXt", DAMAGED)  # chunks in which a PNG may say that it lies on its side
PLAIN = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
PNG_LEVEL = 1  # labels shrink little beyond level 1, which is four times faster to write than Pillow's default


def read_image(path: Path) -> NDArray[np.uint8]:
    """-> (H, W, 3) uint8 RGB, upright (EXIF applied), alpha dropped, grey repeated. InputError when unreadable."""
    return decode_image(_read(path), name=str(path))


def decode_image(data: bytes, *, name: str = "image") -> NDArray[np.uint8]:
    """Bytes of a PNG or JPEG -> (H, W, 3) uint8 RGB; see read_image."""
    with _damage_named(name):
        image = Image.open(io.BytesIO(data))
        found = _plain_pixels(image, data)
        if found is not None:
            return found
        image.load()
        upright = ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _plain_pixels(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of an upright 8-bit RGB PNG by OpenCV, which gives up Python's lock while it decodes.

    None for any other image, and for one that OpenCV cannot decode whole; Pillow then decodes it, or says what is wrong. JPEG is
    left to Pillow: OpenCV writes a line to stderr for every file with stray bytes, which many cameras produce.
    """
    tiles = getattr(image, "tile", ())
    plain = image.format == "PNG" and image.mode == "RGB" and [tile[3] for tile in tiles] == ["RGB"]
    if not plain or not _chunks(data).isdisjoint(TURNS_A_PNG):
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), PLAIN)
    if found is None or found.shape[1::-1] != image.size:
        return None
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _chunks(data: bytes) -> set[bytes]:
    """The kinds of chunks in a PNG file, with DAMAGED among them if a checksum is wrong or a chunk is not complete."""
    kinds, place, view = set(), 8, memoryview(data)
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place) if place + 12 <= len(data) else (len(data), DAMAGED)
        kinds.add(kind)
        place += 12 + length
        whole = place <= len(data) and zlib.crc32(view[place - length - 8 : place - 4]) == int.from_bytes(view[place - 4 : place])
        if not whole:
            return kinds | {DAMAGED}
    return kinds


def read_raw(path: Path) -> Image.Image:
    """The image in its mode on disk. InputError when unreadable."""
    return _open(_read(path), str(path))


def read_ids(path: Path) -> NDArray[np.uint8]:
    """A label file's raw ids -> (H, W) uint8.

    Of 8-bit grey images the value is the id, of palette images the index (converting them to grey would be wrong).
    InputError for anything else.
    """
    return decode_ids(_read(path), name=str(path))


def decode_ids(data: bytes, *, name: str = "label") -> NDArray[np.uint8]:
    """Bytes of a label file -> (H, W) uint8; see read_ids."""
    image = _open(data, name)
    if image.mode not in ("L", "P"):
        raise InputError(f"{name}: a label image of mode {image.mode}; expected 8-bit grey (L) or palette (P) ids")
    return np.asarray(image)


def to_train_ids(ids: NDArray[np.uint8], *, table: NDArray[np.uint8], known: frozenset[int], path: Path) -> NDArray[np.uint8]:
    """(H, W) ids on disk -> (H, W) train ids through `table` (256,). InputError when an id is outside `known`."""
    stranger = np.ones(256, dtype=np.uint8)
    stranger[list(known)] = 0
    strange = cv2.LUT(ids, stranger)
    if strange.any():
        raise InputError(
            f"{path}: label id {ids[strange > 0].min()} is not in this data set's table; is it another data set, or train ids?"
        )
    return cv2.LUT(ids, table)


def image_size(path: Path) -> tuple[int, int]:
    """-> (width, height) from the header alone."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path}: not a readable image ({error}); replace or remove the file") from error


def read_ends(path: Path) -> tuple[bytes, bytes, int]:
    """The first 8 and the last 64 bytes of a file, and its length: all that `fault_of` needs."""
    with open(path, "rb") as stream:
        head = stream.read(8)
        length = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, length - 64))
        return head, stream.read(), length


def fault_of(head: bytes, tail: bytes) -> str:
    """What is wrong with an image file by its ends, or '': a truncated PNG or JPEG lacks its end marker."""
    if not head:
        return "empty"
    is_png, is_jpeg = head.startswith(b"\x89PNG\r\n\x1a\n"), head.startswith(b"\xff\xd8")
    if not (is_png or is_jpeg):
        return "neither PNG nor JPEG"
    return "" if (b"IEND" if is_png else b"\xff\xd9") in tail else "truncated"


def resize_image(image: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> (height, width, 3); size is (width, height). Area averaging when shrinking, otherwise bilinear."""
    if image.shape[1::-1] == tuple(size):
        return image
    shrinks = image.shape[1] >= size[0] and image.shape[0] >= size[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_label(label: NDArray[np.uint8], *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) ids -> (height, width) by nearest neighbour; size is (width, height)."""
    if label.shape[1::-1] == tuple(size):
        return label
    return cv2.resize(label, size, interpolation=cv2.INTER_NEAREST_EXACT)


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """(H, W) or (H, W, 3) uint8 -> PNG bytes."""
    return _encode(Image.fromarray(array), format="PNG", compress_level=PNG_LEVEL)


def encode_palette_png(ids: NDArray[np.uint8], *, palette: NDArray[np.uint8]) -> bytes:
    """(H, W) ids and (K, 3) colours -> palette PNG bytes; the index is the id."""
    image = Image.fromarray(ids)
    image.putpalette(palette.astype(np.uint8).tobytes())
    return _encode(image, format="PNG", compress_level=PNG_LEVEL)


def encode_label_png(label: NDArray[np.uint8]) -> bytes:
    """(H, W) train ids -> palette PNG bytes in Cityscapes' colours, IGNORE in black."""
    return encode_palette_png(label, palette=colourise(np.arange(IGNORE + 1, dtype=np.uint8)[None])[0])


def encode_jpeg(array: NDArray[np.uint8], *, quality: int) -> bytes:
    """(H, W, 3) uint8 -> JPEG bytes, with full chroma resolution from quality 90 on."""
    return _encode(Image.fromarray(array), format="JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise UnreadableError(str(path), reason=reason, remedy="expected an image file") from error


def _open(data: bytes, name: str) -> Image.Image:
    with _damage_named(name):
        image = Image.open(io.BytesIO(data))
        image.load()
    return image


@contextlib.contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn any error of Pillow into UnreadableError: a damaged file may raise anything."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's message would contain an address in memory.
        why = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UnreadableError(name, reason=f"not a readable image ({why})", remedy="replace or remove the file") from error


def _encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
