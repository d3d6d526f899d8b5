"""Unreadable real images: found by decoding all images, recorded, and left out up to the limit of run.toml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from selfsyn.ahead import on_all_cores
from selfsyn.data.frames import Frame
from selfsyn.errors import InputError
from selfsyn.files import write_json
from selfsyn.images import UnreadableError, read_image
from selfsyn.progress import say, track


def readable(frames: Sequence[Frame], *, record: Path, spoiled: int) -> list[Frame]:
    """The frames whose image can be decoded. InputError, naming the first, when more than `spoiled` or all cannot.

    record: a JSON file, {frame name: why its image cannot be read}, written here. An existing one is used as it is, so a
    resumed phase keeps its frames and decodes nothing twice.
    """
    if not record.exists():
        write_json(record, _unreadable(frames, spoiled=spoiled))
    reasons: dict[str, str] = json.loads(record.read_text())
    return [frame for frame in frames if frame.name not in reasons]


def _unreadable(frames: Sequence[Frame], *, spoiled: int) -> dict[str, str]:
    reasons = track(on_all_cores(_reason, frames), total=len(frames), label="real images")
    found = [(frame, reason) for frame, reason in zip(frames, reasons, strict=True) if reason]
    if found:
        first, why = found[0]
        if len(found) > spoiled or len(found) == len(frames):
            raise InputError(
                f"{first.image}: {why}; {len(found)} of {len(frames)} images cannot be read, and teacher.unreadable allows"
                f" {spoiled}; replace or remove the files and start again with --force"
            )
        say(f"left out {len(found)} of {len(frames)} images that cannot be read, first {first.image} ({why})")
    return {frame.name: reason for frame, reason in found}


def _reason(frame: Frame) -> str:
    try:
        read_image(frame.image)
    except UnreadableError as error:
        return error.reason
    return ""
