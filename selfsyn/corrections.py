"""Corrections: masks that people have checked, a layer above the immutable label stores. Never imports torch.

A round trains with the corrections of its own folder and of earlier rounds; the latest mask of an image counts. Mask files are
named by their content and never change; the index names those that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, ClassList
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, digest_lines, read_json, write_atomic, write_json
from selfsyn.images import encode_label_png, read_ids
from selfsyn.labels import IGNORE
from selfsyn.layout import Layout
from selfsyn.pseudo_labels import LabelStore, select

INDEX: Final = "index.json"
Maps = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Correction:
    """The mask of an image, and where it comes from.

    mask: path in the folder of corrections.  digest: of the file.  pixels: those with a class.  changed: those with another class
    than before.  tool: format of the import.  origin: folder or file of the import.  imported: UTC.  teacher: of the labels that
    were corrected.
    """

    mask: str
    digest: str
    pixels: int
    changed: int
    tool: str
    origin: str
    imported: str
    teacher: str


class CorrectedStore(LabelStore):
    """A label store in which the masks of `corrections`, {name: (file, correction)}, replace the labels of their images."""

    def __init__(
        self, folder: Path, corrections: Mapping[str, tuple[Path, Correction]], classes: ClassList = CITYSCAPES_19
    ) -> None:
        """Raises as LabelStore. Corrections of images that the store has no labels of are left out."""
        super().__init__(folder, classes)
        self.corrections = {name: found for name, found in sorted(corrections.items()) if self.has(name)}

    def maps(self, name: str) -> Maps:
        """As LabelStore.maps. A corrected image has the confidence 255, and IGNORE and 0 where its mask has no class.

        A mask has the size of the image, not that of the other labels.
        """
        if name not in self.corrections:
            return super().maps(name)
        mask = self._mask(name)
        return mask, np.where(mask == IGNORE, np.uint8(0), np.uint8(255))

    def read(self, name: str, *, portion: float) -> NDArray[np.uint8]:
        """As LabelStore.read; every pixel of a corrected image counts."""
        return self._mask(name) if name in self.corrections else super().read(name, portion=portion)

    def at_least(self, name: str, *, thresholds: NDArray[np.int64]) -> Maps:
        """The maps of an image, with IGNORE below the (K,) thresholds; corrections need no threshold."""
        label, confidence = self.maps(name)
        kept = label if name in self.corrections else select(label, confidence, thresholds=thresholds)
        return kept, confidence

    @property
    def counted(self) -> dict[str, int]:
        """Images and pixels that people have corrected; empty without any."""
        pixels = sum(correction.pixels for _, correction in self.corrections.values())
        return {"corrected_images": len(self.corrections), "corrected_pixels": pixels} if self.corrections else {}

    def _mask(self, name: str) -> NDArray[np.uint8]:
        path, correction = self.corrections[name]
        mask = read_ids(path)
        if np.count_nonzero(mask != IGNORE) != correction.pixels:
            raise InputError(f"{path}: not the mask that was imported; delete {path.parent.parent} and import it again")
        return mask


def corrected_store(layout: Layout, round_: int, classes: ClassList = CITYSCAPES_19) -> CorrectedStore:
    """The label store of a round with the corrections of that round and earlier ones. Raises as LabelStore."""
    return CorrectedStore(layout.labels(round_), corrections_of(layout, round_), classes)


def corrections_of(layout: Layout, round_: int) -> dict[str, tuple[Path, Correction]]:
    """{name: (mask file, correction)} for the training of a round."""
    found: dict[str, tuple[Path, Correction]] = {}
    for earlier in range(1, round_ + 1):
        folder = layout.corrections(earlier)
        found |= {name: (folder / one.mask, one) for name, one in read_index(folder).items()}
    return found


def digest(layout: Layout, round_: int) -> str | None:
    """A digest of the masks that a round trains with; None without any."""
    found = corrections_of(layout, round_)
    return digest_lines(f"{name}\t{one.digest}" for name, (_, one) in sorted(found.items())) if found else None


def read_index(folder: Path) -> dict[str, Correction]:
    """{name: correction} of a folder; empty without an index. InputError for an index of another form."""
    try:
        return {name: msgspec.convert(row, Correction) for name, row in (read_json(folder / INDEX) or {}).items()}
    except msgspec.ValidationError as error:
        raise InputError(f"{folder / INDEX}: not an index of corrections ({error}); delete {folder} and import again") from error


def write_mask(folder: Path, name: str, mask: NDArray[np.uint8], classes: ClassList = CITYSCAPES_19) -> tuple[str, str]:
    """Write (H, W) train ids; -> the file's path in the folder, and its digest."""
    data = encode_label_png(mask, classes)
    found = digest_bytes(data)
    place = f"masks/{name}-{found.removeprefix('sha256:')[:12]}.png"
    if not (folder / place).exists():
        write_atomic(folder / place, data)
    return place, found


def write_index(folder: Path, more: Mapping[str, Correction]) -> None:
    """Add corrections to the index; those with the mask that is there already keep their origin."""
    before = read_index(folder)
    new = {name: one for name, one in more.items() if name not in before or before[name].digest != one.digest}
    rows: dict[str, Any] = {name: asdict(one) for name, one in sorted({**before, **new}.items())}
    write_json(folder / INDEX, rows)
