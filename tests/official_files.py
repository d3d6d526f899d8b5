"""Data sets as their authors publish them, written byte by byte: an encoder that shares no line with the program's."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

GREY, RGB, PALETTE, RGBA = 0, 2, 3, 6  # colour types of the PNG specification


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, *, colour: int, bits: int = 8, palette: np.ndarray | None = None) -> bytes:
    """(H, W) or (H, W, C) unsigned values -> PNG bytes of that colour type and depth; rows without filter."""
    height, width = values.shape[:2]
    rows = values.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1)
    if bits < 8:  # several values in a byte, the first in its high bits; the width must fill whole bytes
        inside = [rows[:, place :: 8 // bits] << (8 - bits * (place + 1)) for place in range(8 // bits)]
        rows = np.bitwise_or.reduce(inside).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    colours = b"" if palette is None else _chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    body = _chunk(b"IHDR", header) + colours + _chunk(b"IDAT", zlib.compress(raw)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def put(path: Path, data: bytes) -> Path:
    """Write the bytes and the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def photo(rng: np.random.Generator, shape: tuple[int, int]) -> bytes:
    """An 8-bit RGB picture of coarse noise."""
    return png(rng.integers(0, 256, (*shape, 3)), colour=RGB)


def gta5_frame(
    root: Path, number: int, ids: np.ndarray, *, rng: np.random.Generator, shape: tuple[int, int] | None = None
) -> None:
    """images/NNNNN.png and a palette label whose colours have nothing to do with its ids."""
    palette = np.array([(37 * k % 256, 91 * k % 256, 153 * k % 256) for k in range(256)])
    put(root / f"images/{number:05d}.png", photo(rng, shape or ids.shape))
    put(root / f"labels/{number:05d}.png", png(ids, colour=PALETTE, palette=palette))


def synthia_rand_frame(root: Path, number: int, ids: np.ndarray, *, rng: np.random.Generator) -> None:
    """RGB/NNNNNNN.png with alpha, and a 16-bit label: class, instance, nothing."""
    instances = rng.integers(0, 2**16, ids.shape)
    rgba = np.dstack([rng.integers(0, 256, (*ids.shape, 3)), np.full(ids.shape, 255)])
    put(root / f"RGB/{number:07d}.png", png(rgba, colour=RGBA))
    label = np.dstack([ids, instances, np.zeros_like(ids)])
    put(root / f"GT/LABELS/{number:07d}.png", png(label, colour=RGB, bits=16))


# SYNTHIA-SF's classes in order; see reference in selfsyn.data.synthia_sf for where the order is published.
SF_COLOURS = """0 0 0,128 64 128,244 35 232,70 70 70,102 102 156,190 153 153,153 153 153,250 170 30,220 220 0,107 142 35,
152 251 152,70 130 180,220 20 60,255 0 0,0 0 142,0 80 100,0 60 100,0 80 100,0 0 230,119 11 32,157 234 50,72 0 98,167 106 29"""


def synthia_sf_frame(root: Path, sequence: int, number: int, ids: np.ndarray, *, rng: np.random.Generator) -> None:
    """SEQn/{RGBLeft,GTLeft,GTLeftDebug}/NNNNNNN.png."""
    colours = np.array([[int(level) for level in colour.split()] for colour in SF_COLOURS.split(",")])
    folder = root / f"SEQ{sequence}"
    put(folder / f"RGBLeft/{number:07d}.png", photo(rng, ids.shape))
    put(folder / f"GTLeft/{number:07d}.png", png(np.dstack([ids, ids * 0, ids * 0]), colour=RGB))
    put(folder / f"GTLeftDebug/{number:07d}.png", png(colours[ids], colour=RGB))


def cityscapes_frame(
    root: Path, split: str, name: str, ids: np.ndarray | None, *, rng: np.random.Generator, shape=(12, 16)
) -> None:  # type: ignore[no-untyped-def]
    """leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png and, with ids, gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png."""
    city = name.split("_")[0]
    put(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", photo(rng, shape if ids is None else ids.shape))
    if ids is not None:
        put(root / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", png(ids, colour=GREY))


def kitti_frame(root: Path, number: int, ids: np.ndarray, *, rng: np.random.Generator) -> None:
    """training/image_2/NNNNNN_10.png and training/semantic/NNNNNN_10.png (label ids)."""
    put(root / f"training/image_2/{number:06d}_10.png", photo(rng, ids.shape))
    put(root / f"training/semantic/{number:06d}_10.png", png(ids, colour=GREY))
