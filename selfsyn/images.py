"""Image and label codecs: bytes to arrays and back. Every error names the file. Never imports torch."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from selfsyn.classes import CITYSCAPES_19, ClassList, Colour
from selfsyn.errors import InputError
from selfsyn.labels import palette_of

cv2.setNumThreads(1)  # the jobs have their own threads


class UnreadableError(InputError):
    """An image file that cannot be read. reason: why, without the path; the same file always gives the same words."""

    def __init__(self, name: str, *, reason: str, remedy: str) -> None:
        """name: the file."""
        super().__init__(f"{name}: {reason}; {remedy}")
        self.reason = reason


ORIENTATION = 0x0112  # the EXIF tag
DAMAGED = b"damaged"
# Chunks in which a PNG may say that it lies on its side, and that of an animation, of which OpenCV reads another picture.
LEFT_TO_PILLOW = (b"eXIf", b"tEXt", b"iTXt", b"zTXt", b"acTL", DAMAGED)
TELLS_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp")  # Pillow's names of what may hold it
MOST_EXIF = 1 << 16  # bytes
PLAIN = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
QUARTER_TURNS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
TRUNCATED = "truncated"
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 24  # bytes; Pillow refuses a picture with more than a megabyte of text beside it
Image.MAX_IMAGE_PIXELS = None  # `_opened` has its own limit
POINTER = "a Git LFS pointer"
OTHERS = {
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"RIFF": "a WebP",
    b"BM": "a BMP",
    b"GIF8": "a GIF",
    b"version ": POINTER,
}
DEEP = ";16B"  # Pillow's mark of 16 bits a channel, of which it reads the higher eight
MOST_PIXELS = 1 << 25  # of an image: 8K is 33.2 million. A hostile JPEG of 67 million takes three seconds and 700 MiB
TWELVE_BITS = 4095  # the largest level of a 12-bit image
FEWER_BITS = {"L;2": 3, "L;4": 15}  # largest value of a grey PNG of fewer bits, which Pillow stretches to 0..255
TURNED_LABEL = "a label that EXIF turns; expected pixels as they are stored; turn them and remove the tag"
NO_COLOUR = 255  # no id of a colour
PNG_LEVEL = 1  # labels shrink little beyond level 1, which is four times faster to write than Pillow's default


def read_image(path: Path) -> NDArray[np.uint8]:
    """-> (H, W, 3) uint8 RGB, upright (EXIF applied), alpha dropped, grey repeated. InputError when unreadable."""
    return decode_image(_read(path), name=str(path))


def decode_image(data: bytes, *, name: str = "image") -> NDArray[np.uint8]:
    """Bytes of a PNG or JPEG -> (H, W, 3) uint8 RGB; see read_image."""
    with _damage_named(name):
        image: Image.Image = _opened(io.BytesIO(data))
        found = _plain_pixels(image, data)
        if found is not None:
            return found
        deep = any(str(tile[3]).endswith(DEEP) for tile in getattr(image, "tile", ()))
        image.load()
        if deep and image.mode != "I;16" and max(int(np.asarray(band).max()) for band in image.split()[:3]) <= TWELVE_BITS >> 8:
            raise ValueError("16 bits a channel with levels up to 4095, so 12 bits in 16; convert it to 8 bits")
        grey = _in_eight_bits(image)
        upright = ImageOps.exif_transpose(grey) if _orientation(grey) != 1 else grey
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """A grey photo of 16 bits in 8 bits (Pillow would cut off all that is above 255); any other image as it is.

    ValueError for one that is dark all over: twelve bits stored in sixteen look like that, and the file does not tell.
    """
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.uint16)
    if levels.max(initial=0) <= TWELVE_BITS:
        raise ValueError(f"16-bit grey with levels up to {levels.max(initial=0)}, so 12 bits in 16; convert it to 8 bits")
    made = Image.fromarray(np.rint(np.arange(1 << 16) * (255 / 65535)).astype(np.uint8)[levels])
    made.info = image.info
    made.getexif().update(image.getexif())
    return made


def _plain_pixels(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of an upright 8-bit RGB PNG by OpenCV, which gives up Python's lock while it decodes.

    None for any other image, and for one that OpenCV cannot decode whole; Pillow then decodes it, or says what is wrong. JPEG is
    left to Pillow: OpenCV writes a line to stderr for every file with stray bytes, which many cameras produce.
    """
    tiles = getattr(image, "tile", ())
    plain = image.format == "PNG" and image.mode == "RGB" and [tile[3] for tile in tiles] == ["RGB"]
    if not plain or not _chunks(data).isdisjoint(LEFT_TO_PILLOW):
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), PLAIN)
    if found is None or found.shape[1::-1] != image.size:
        return None
    return np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _chunks(data: bytes) -> set[bytes]:
    """The kinds of chunks in a PNG file up to the first one that is not whole; then DAMAGED is among them."""
    kinds: set[bytes] = set()
    place, view = 8, memoryview(data)
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place) if place + 12 <= len(data) else (len(data), DAMAGED)
        place += 12 + length
        if place > len(data) or zlib.crc32(view[place - length - 8 : place - 4]) != int.from_bytes(view[place - 4 : place]):
            return kinds | {DAMAGED}
        kinds.add(kind)
    return kinds


def read_raw(path: Path) -> Image.Image:
    """The image in its mode on disk. InputError when unreadable."""
    return _open(_read(path), str(path))


def read_unchanged(path: Path) -> NDArray[np.uint8 | np.uint16]:
    """A PNG's channels as they are stored -> (H, W) grey, or (H, W, 3 or 4) blue, green, red, alpha. InputError when unreadable.

    Pillow would read only the high byte of each channel of 16 bits.
    """
    data = _read(path)
    _drawing(data, name=str(path), what="ids")
    with _damage_named(str(path)):
        found = None if not {DAMAGED, b"acTL"}.isdisjoint(_chunks(data)) else cv2.imdecode(np.frombuffer(data, np.uint8), -1)
        if found is None:
            raise ValueError("damaged, or an animation")
    return found


def read_drawing(path: Path, *, what: str) -> Image.Image:
    """A label file's image in its mode on disk, 8 bits a channel or fewer. what: 'ids' or 'colours', for messages.

    InputError when it is unreadable, no PNG, turned by EXIF, or has 16 bits a channel, of which Pillow reads the higher eight.
    """
    image, stored = _drawing(_read(path), name=str(path), what=what)
    if image.mode.startswith("I") or stored.endswith(DEEP):
        raise InputError(f"{path}: a label of 16 bits; expected 8 bits a channel; make the labels again")
    return image


def _drawing(data: bytes, *, name: str, what: str) -> tuple[Image.Image, str]:
    """-> a label's image and Pillow's name of its mode in the file. InputError for one that is unreadable, no PNG, or turned."""
    with _damage_named(name):
        image = _opened(io.BytesIO(data))
        stored = "".join(str(tile[3]) for tile in getattr(image, "tile", ())[:1])
        image.load()
        turned = _orientation(image) != 1
    if image.format != "PNG":
        raise InputError(f"{name}: a label saved as JPEG holds {what} that nobody drew; expected PNG; make the labels again")
    if turned:
        raise InputError(f"{name}: {TURNED_LABEL}")
    return image, stored


def read_ids(path: Path) -> NDArray[np.uint8]:
    """A label file's raw ids -> (H, W) uint8.

    Of grey images of 2, 4 and 8 bits the value is the id, of palette images the index (converting them to grey would be wrong).
    InputError for anything else, for JPEG, and for a palette of greys that are other numbers than their index.
    """
    return decode_ids(_read(path), name=str(path))


def decode_ids(data: bytes, *, name: str = "label") -> NDArray[np.uint8]:
    """Bytes of a label file -> (H, W) uint8; see read_ids."""
    image, stored = _drawing(data, name=name, what="ids")
    if image.mode not in ("L", "P"):
        named = ", or name their colours in run.toml (`colours` of the source)" if image.mode.startswith("RGB") else ""
        raise InputError(f"{name}: {_what_it_is(image.mode)}; expected grey or palette ids; make the labels again as ids{named}")
    ids = np.asarray(image)
    if image.mode == "P":
        _refuse_other_numbers(ids, image.getpalette("RGB") or [], name=name)
    most = FEWER_BITS.get(stored) if image.mode == "L" else None
    return ids if most is None else ids // np.uint8(255 // most)


def read_colours(path: Path, *, ids: tuple[tuple[Colour, int], ...]) -> NDArray[np.uint8]:
    """A label file that is a picture in colours -> (H, W) uint8 ids.

    ids: the id of each colour, 0 to 254. InputError for another colour in the file, and for JPEG, which changes colours.
    """
    image = read_drawing(path, what="colours")
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), dtype=np.uint32), 2, 0)
    found = _ids_of_colours(ids)[red << 16 | green << 8 | blue]
    strange = np.flatnonzero(found == NO_COLOUR)
    if strange.size:
        row, column = divmod(int(strange[0]), found.shape[1])
        shown = f"#{red[row, column]:02x}{green[row, column]:02x}{blue[row, column]:02x}"
        raise InputError(
            f"{path}: the colour {shown} in {strange.size} pixels, first row {row} column {column}; expected colours of the"
            " table; give it a class in `colours` in run.toml"
        )
    return found


@functools.lru_cache(maxsize=4)
def _ids_of_colours(ids: tuple[tuple[Colour, int], ...]) -> NDArray[np.uint8]:
    """(2 ** 24,) the id of each 24-bit colour, or NO_COLOUR: 16 MB, and much faster than comparing."""
    table = np.full(1 << 24, NO_COLOUR, dtype=np.uint8)
    for (red, green, blue), place in ids:
        table[red << 16 | green << 8 | blue] = place
    return table


def _what_it_is(mode: str) -> str:
    kinds = {
        "RGB": "a label of colours",
        "RGBA": "a label of colours",
        "1": "a label of two values (1 bit)",
        "LA": "grey with alpha",
    }
    return kinds.get(mode, "a label of 16 bits" if mode.startswith("I") else f"a label of mode {mode}")


def _refuse_other_numbers(ids: NDArray[np.uint8], palette: Sequence[int], *, name: str) -> None:
    """InputError when every entry in use is a grey, and one of another number than its index: which is the id, is not told."""
    entries = np.array(palette, dtype=np.int64).reshape(-1, 3)
    used = np.unique(ids)
    used = used[used < len(entries)]
    greys = entries[used, 0]
    if len(used) and (entries[used] == greys[:, None]).all() and len(set(greys)) > 1:
        wrong = used[greys != used]
        if len(wrong):
            raise InputError(
                f"{name}: a palette whose entry {wrong[0]} is the grey {entries[wrong[0], 0]}, so index and grey are two"
                " ids; expected an index that is the id; save the label as 8-bit grey"
            )


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
    """-> (width, height) as stored, from the header alone."""
    return geometry(path)[0]


def upright_size(path: Path) -> tuple[int, int]:
    """-> (width, height) as `read_image` reads it, from the header alone."""
    stored, orientation = geometry(path)
    return stored[::-1] if orientation in QUARTER_TURNS else stored


def geometry(path: Path) -> tuple[tuple[int, int], int]:
    """-> ((width, height) as stored, EXIF orientation 1..8), from the header alone. 1: the pixels are stored upright."""
    with _damage_named(str(path)), open(path, "rb") as stream:
        return _geometry(stream)


def geometry_of(stream: BinaryIO, *, name: str) -> tuple[tuple[int, int], int]:
    """`geometry` of an open file. name: for errors."""
    with _damage_named(name):
        return _geometry(stream)


def _geometry(stream: BinaryIO) -> tuple[tuple[int, int], int]:
    with _opened(stream) as image:
        # Pillow decodes a PNG to search for it: only where there may be one, before the pixels or behind them.
        told = image.format != "PNG" or not image.info.keys().isdisjoint(TELLS_ORIENTATION) or _tells_late(stream)
        return image.size, _orientation(image) if told else 1


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8. Anything else, as the 0 of many programs, leaves an image as it is stored."""
    told = image.getexif().get(ORIENTATION, 1)
    return told if told in range(1, 9) else 1


def _tells_late(stream: BinaryIO) -> bool:
    """Whether the last 64 KiB of a PNG, behind its pixels, may say how it lies. Leaves the position of the stream as it was."""
    here = stream.tell()
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - MOST_EXIF))
    tail = stream.read()
    stream.seek(here)
    return any(mark in tail for mark in (b"eXIf", *(name.encode() for name in TELLS_ORIENTATION[1:])))


def as_read(stored: tuple[int, int], orientation: int, *, label: tuple[int, int]) -> tuple[int, int] | None:
    """The size of an image that `read_image` turns upright. None where its label may be drawn on the pixels as stored.

    stored, label: (width, height).  orientation: of EXIF. Only a quarter turn of an image that is no square shows in the sizes.
    """
    if orientation == 1:
        return stored
    upright = stored[::-1] if orientation in QUARTER_TURNS else stored
    return upright if upright == label != stored else None


def read_ends(path: Path) -> tuple[bytes, bytes, int]:
    """The first 8 and the last 64 bytes of a file, and its length: all that `fault_of` needs."""
    with open(path, "rb") as stream:
        return read_ends_of(stream)


def read_ends_of(stream: BinaryIO) -> tuple[bytes, bytes, int]:
    """`read_ends` of an open file."""
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
        found = next((kind for magic, kind in OTHERS.items() if head.startswith(magic)), "")
        remedy = "fetch the file with `git lfs pull`" if found == POINTER else "convert the file or remove the frame"
        return f"{found}; expected PNG or JPEG; {remedy}" if found else "neither PNG nor JPEG"
    return "" if (b"IEND" if is_png else b"\xff\xd9") in tail else TRUNCATED


def decodes(path: Path) -> bool:
    """Whether the file is a whole image, by decoding it: some cameras write bytes behind the end, where `fault_of` looks."""
    try:
        data = _read(path)
        decode_image(data)
    except InputError:
        return False
    # Pillow reads pictures that lack their last bytes, and takes stray bytes for the rest of a JPEG: its end must be there,
    # behind the begin of its last scan.
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") if data.startswith(b"\xff\xd8") else b"IEND" in _chunks(data)


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


def encode_label_png(label: NDArray[np.uint8], classes: ClassList = CITYSCAPES_19) -> bytes:
    """(H, W) train ids -> palette PNG bytes in the colours of the classes, IGNORE in black."""
    return encode_palette_png(label, palette=palette_of(classes))


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
        image = _opened(io.BytesIO(data))
        image.load()
    return image


def _opened(stream: BinaryIO) -> Image.Image:
    """The PNG or JPEG in a stream, its pixels not read yet. ValueError for one that is too large to hold in memory."""
    image = Image.open(stream, formats=("PNG", "JPEG"))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width}x{image.height}, more than the {MOST_PIXELS} pixels that are read")
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
        why = "damaged, or of an unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UnreadableError(name, reason=f"not a readable image ({why})", remedy="replace or remove the file") from error


def _encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
