"""Inputs that people report in public, from shared/cases: doctor's verdict and words, and what the phases read or refuse."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_run import selfsyn_here

from selfsyn.data import sources
from selfsyn.data.frames import LabelledFrame
from selfsyn.doctor.data import look
from selfsyn.doctor.listing import listed, roles
from selfsyn.errors import InputError
from selfsyn.images import read_image
from selfsyn.phase import open_run

CASES = Path(__file__).parents[2] / "shared/cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}: reported inputs")
TRAIN_IDS = "look like train ids; expected label ids"
OTHER_GREYS = "a palette whose entry 0 is the grey 23"
TURNED = "turned by EXIF"
REFUSED = {
    "all-ignore-all": "3 labels in which no pixel has a class",
    "collide-folders": "night/0000_leftImg8bit.png: has the name of .*day/0000_leftImg8bit.png",
    "ev-jpg-exif3": TURNED,
    "exif-3": TURNED,
    "files-latin1": "list.txt: not text",
    "kitti-jpg-labels": "a label saved as JPEG",
    "kitti-trainids-19": TRAIN_IDS,
    "labels-1bit": r"a label of two values \(1 bit\)",
    "labels-jpeg": "a label saved as JPEG",
    "labels-rgb": "a label of colours",
    "palette-grey-reordered": OTHER_GREYS,
    "palette-grey-reordered-few": OTHER_GREYS,
    "same-stem": "0001.png: has the name of .*0001.jpg",
    "same-stem-label": "0001.png: has the name of .*0001.jpg",
    "trainids-255": TRAIN_IDS,
    "trainids-plus1": TRAIN_IDS,
    "trainids-void19": TRAIN_IDS,
}
# Read, with what doctor says beside it, or nothing.
READ = {
    "city-mixed": "1 pictures that are no frames: with the ending .jpg.*aachen_000002",
    "collide-control": "",
    "ev-grey16": "",
    "ev-grey8": "",
    "ev-jpg": "",
    "files-bom": "",
    "gta-upper": "",
    "huge-200mp-real": r"1 unreadable files \(not a readable image \(20000x10000, more than",
    "image-16bit-grey": "",
    "jpeg-trailing": "",
    "jpeg-trailing-syn": "",
    "kitti-label-missing": "1 images of its other splits without a label, first .*000007_10.png",
    "kitti-ok": "",
    "labels-2bit": "",
    "labels-4bit-gta": "",
    "mac-cityscapes-real": "",
    "mac-kitti-raw": "",
    "nested-some": "1 pictures that are no frames: in a folder .*town/0009.png",
    "png-large-text": "",
    "synthia-rand": "",
    "synthia-rand-alpha": "",
}


def run_of(name: str, folder: Path) -> Path:
    """The run folder of a copy of the case."""
    shutil.copytree(CASES / name, folder / name)
    code, said = selfsyn_here("init", folder / name / "in.toml", "--run", folder / name / "run")
    assert code == 0, said
    return folder / name / "run"


def said_of(run: Path) -> tuple[list[str], list[str]]:
    """Doctor's lines about the data -> (faults, notes). Left out: photos that have two roles in each case, and drawn labels."""
    layout, config = open_run(run)
    data = look(layout, config, [listed(layout, role) for role in roles(config)], everything=True)
    drawn = ("images that are in real too", "the lowest third", "squeezes the pictures", "lacks ")
    findings = [finding for finding in data.findings if not any(words in finding.what for words in drawn)]
    return [one.line for one in findings if one.stops], [one.line for one in findings if not one.stops]


def read_all(run: Path) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """What the phases read of each frame: image and label, or None for one of a real photo."""
    layout, config = open_run(run)
    frames = [*sources.synthetic(layout, config)[0], *sources.real(layout, config)[0]]
    frames += sources.labelled_frames(layout, config.held_out, classes=config.class_list)
    return [(read_image(frame.image), frame.read_label() if isinstance(frame, LabelledFrame) else None) for frame in frames]


def test_every_case_has_its_answer() -> None:
    assert {path.name for path in CASES.iterdir() if path.is_dir()} == {*REFUSED, *READ}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_doctor_and_by_the_phase(case: str, tmp_path: Path) -> None:
    run = run_of(case, tmp_path)
    faults, _ = said_of(run)
    assert any("\n" not in fault and re.search(REFUSED[case], fault) for fault in faults), faults
    if case != "all-ignore-all":  # train refuses that one when it has counted the classes: tests/test_cases.py
        with pytest.raises(InputError, match=REFUSED[case]):
            read_all(run)


@pytest.mark.parametrize("case", READ)
def test_it_is_read_and_only_what_is_lost_is_said(case: str, tmp_path: Path) -> None:
    run = run_of(case, tmp_path)
    faults, notes = said_of(run)
    assert faults == []
    assert any(re.search(READ[case], note) for note in notes) if READ[case] else notes == []
    if case != "huge-200mp-real":
        assert all(label is None or label.shape == image.shape[:2] for image, label in read_all(run))


@pytest.mark.parametrize(("case", "control"), [("ev-grey16", "ev-grey8"), ("synthia-rand-alpha", "synthia-rand")])
def test_its_pixels_are_those_of_the_control(case: str, control: str, tmp_path: Path) -> None:
    ours, theirs = (read_all(run_of(name, tmp_path)) for name in (case, control))
    assert len(ours) == len(theirs) > 0
    for (image, label), (their_image, their_label) in zip(ours, theirs, strict=True):
        assert (image == their_image).all()
        assert label is None or (label == their_label).all()
