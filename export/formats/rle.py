"""Run lengths as COCO and Label Studio write them, by arrays: their own encoders take seconds an image, or need a compiler.

COCO: pycocotools' common/maskApi.c (rleToString).  Label Studio: @thi.ng/rle-pack, as label_studio_sdk.converter.brush reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
CHUNK: Final = 6  # characters of a run length of 30 bits, the longest
# Label Studio: a header of 32 + 5 + 4 * 4 bits, then chunks: 1 bit for a run, 2 bits that choose how many bits its length has.
SIZES: Final = (3, 4, 8, 16)
HEADER: Final = 53
CHANNELS: Final = 4  # a mask is the alpha of an RGBA picture whose channels are equal
LONGEST: Final = 1 << SIZES[-1]


def runs(mask: Bits) -> NDArray[np.int64]:
    """(N,) pixels -> lengths of the runs of false, true, false, ...; the first may be 0."""
    changes = np.flatnonzero(np.diff(mask)) + 1
    ends = np.concatenate([[0] * bool(mask.size and mask[0]), changes, [mask.size]])
    return np.diff(ends, prepend=0).astype(np.int64)


def coco_counts(mask: Bits) -> str:
    """(H, W) pixels -> the compressed `counts` of COCO: by columns, each length as its difference to the last but one."""
    lengths = runs(mask.ravel(order="F"))
    values = lengths.copy()
    values[3:] -= lengths[1:-2]
    characters = np.zeros((len(values), CHUNK + 1), dtype=np.uint8)
    used = np.zeros_like(characters, dtype=bool)
    more = np.ones(len(values), dtype=bool)
    for place in range(CHUNK + 1):
        digit, values = values & 31, values >> 5
        used[:, place] = more
        more = more & np.where(digit & 16, values != -1, values != 0)
        characters[:, place] = digit + 32 * more + 48
    return characters[used].tobytes().decode("ascii")


def coco_mask(counts: str | Sequence[int], *, height: int, width: int) -> Bits:
    """COCO's counts, compressed or as a list -> (H, W) pixels. ValueError when they are no picture of that size."""
    lengths = _lengths(counts) if isinstance(counts, str) else np.asarray(counts, dtype=np.int64)
    if lengths.sum() != height * width or (lengths < 0).any():
        raise ValueError(f"run lengths of {lengths.sum()} pixels; expected {width}x{height}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape((height, width), order="F")


def _lengths(text: str) -> NDArray[np.int64]:
    characters = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = (characters & 32) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(characters)) - np.repeat(starts, ends - starts + 1)
    lengths = np.add.reduceat((characters & 31) << (5 * place), starts)
    negative = (characters[ends] & 16) > 0
    lengths -= negative.astype(np.int64) << (5 * (ends - starts + 1))
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


def brush_rle(mask: Bits) -> list[int]:
    """(H, W) pixels -> Label Studio's brush, in runs of 0 and 255."""
    lengths = runs(mask.ravel()) * CHANNELS
    values = np.arange(len(lengths)) % 2 * 255
    whole, rest = lengths // LONGEST, lengths % LONGEST
    parts = np.stack([np.full_like(rest, LONGEST), rest], axis=1)
    times = np.stack([whole, (rest > 0).astype(np.int64)], axis=1).ravel()
    lengths, values = np.repeat(parts.ravel(), times) - 1, np.repeat(np.repeat(values, 2), times)
    choice = np.searchsorted(1 << np.array(SIZES), lengths, side="right")
    size = np.array(SIZES)[choice]
    codes = (((4 + choice) << size | lengths) << 8) | values
    header = [(mask.size * CHANNELS, 32), (7, 5), *((size - 1, 4) for size in SIZES)]
    words = np.concatenate([[word for word, _ in header], codes])
    widths = np.concatenate([[width for _, width in header], 3 + size + 8])
    return np.packbits(_bits(words, widths)).tolist()


def _bits(words: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The lowest widths[i] bits of words[i], the highest bit first, word after word."""
    ends = np.cumsum(widths)
    shifts = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    return (np.repeat(words, widths) >> shifts & 1).astype(np.uint8)


def brush_mask(rle: Sequence[int], *, height: int, width: int) -> Bits:
    """Label Studio's brush -> (H, W) pixels that are painted. ValueError when it is no picture of that size."""
    bits = np.unpackbits(np.asarray(rle, dtype=np.uint8))
    count, word, place = _number(bits, 0, 32), _number(bits, 32, 5) + 1, HEADER
    sizes = [_number(bits, 37 + 4 * number, 4) + 1 for number in range(4)]
    if count != height * width * CHANNELS or word != 8:
        raise ValueError(f"a brush of {count} values of {word} bits; expected {width}x{height} pixels of 4 bytes")
    parts: list[NDArray[np.uint8]] = []
    while count > 0:
        size = sizes[_number(bits, place + 1, 2)]
        length = _number(bits, place + 3, size) + 1
        repeated, start = bool(bits[place]), place + 3 + size
        place = start + 8 * (1 if repeated else length)
        values = np.packbits(bits[start:place])
        parts.append(np.repeat(values, length) if repeated else values)
        count -= length
    return np.concatenate(parts)[: height * width * CHANNELS].reshape(height, width, CHANNELS)[..., 3] > 0


def _number(bits: NDArray[np.uint8], place: int, size: int) -> int:
    part = bits[place : place + size]
    if len(part) < size:
        raise ValueError("a brush that ends too early")
    return int.from_bytes(np.packbits(np.concatenate([np.zeros(-size % 8, np.uint8), part])).tobytes())
