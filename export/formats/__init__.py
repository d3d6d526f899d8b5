"""Formats of labelling tools. A module is a Format (export.formats.item): it writes what a tool imports and reads its export."""

from __future__ import annotations

from typing import Final

from export.formats import cityscapes, coco, cvat, datumaro, fiftyone, label_studio
from export.formats.item import Format

FORMATS: Final[dict[str, Format]] = {
    "datumaro": datumaro,
    "cvat": cvat,
    "label-studio": label_studio,
    "fiftyone": fiftyone,
    "coco": coco,
    "cityscapes": cityscapes,
}
