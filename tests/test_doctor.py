"""`selfsyn doctor`: every planted fault is named with its path, nothing sound is, and unchanged data is looked at once."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from official_files import (
    GREY,
    PALETTE,
    RGB,
    cityscapes_frame,
    gta5_frame,
    kitti_frame,
    photo,
    png,
    put,
    synthia_rand_frame,
    synthia_sf_frame,
)
from tiny_run import make, selfsyn_here

from jobs import doctor as job
from jobs.__main__ import cli
from selfsyn import config as configuration
from selfsyn.config import RunConfig, Task
from selfsyn.doctor import facts, pixels, room, speed, times
from selfsyn.doctor.codec import Codec
from selfsyn.doctor.machine import Probe, amount
from selfsyn.doctor.speed import Speed
from selfsyn.errors import InputError
from selfsyn.layout import Layout
from selfsyn.stage import Stage

RNG = np.random.default_rng(0)
SOUND = Probe(("CPUExecutionProvider",), "no driver", Speed("2.0", "cpu", 2.0, 1.0, "cpu", 1000, 100))
NO_WORLD = ("world.engine=0", "world.camera=0", "world.held_out=0")


class Told(NamedTuple):
    """What doctor left: its exit code, stdout, stderr and report.json."""

    code: int
    out: str
    err: str
    report: dict  # type: ignore[type-arg]

    @property
    def verdict(self) -> str:
        return self.out.rstrip("\n").splitlines()[-1]


Doctor = Callable[..., Told]


def every_id(count: int = 34, shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    return np.arange(shape[0] * shape[1]).reshape(shape) % count


@pytest.fixture(autouse=True)
def probed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No torch in another process: it takes seconds, and one test tries it."""
    monkeypatch.setattr(job, "probed", lambda root, config: SOUND)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sound run on a user's data: five GTA5 frames, four real images, three held-out ones."""
    for number in range(1, 6):
        gta5_frame(tmp_path / "gta", number, every_id(), rng=RNG)
    for number in range(4):
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG)
    for number in range(3):
        cityscapes_frame(tmp_path / "city", "val", f"bonn_{number:06d}_000019", every_id(), rng=RNG)
    return configured(tmp_path)


def configured(tmp_path: Path, *settings: str, name: str = "run") -> Path:
    roots = [f"synthetic.root={tmp_path}/gta", f"real.root={tmp_path}/city", f"held_out.root={tmp_path}/city"]
    return make(tmp_path / name, *roots, *NO_WORLD, *settings)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    def told(run: Path, *options: str) -> Told:
        capsys.readouterr()
        code, err = selfsyn_here("doctor", "--run", run, *options)
        report = run / "doctor/report.json"
        return Told(code, capsys.readouterr().out, err, json.loads(report.read_text()) if report.exists() else {})

    return told


def test_a_sound_run_is_ready_and_not_begun(run: Path, doctor: Doctor) -> None:
    told = doctor(run)
    assert told.code == 0, told.out
    assert told.verdict == f"ready: next: selfsyn round --run {run}"
    assert [line for line in told.out.splitlines() if "ready:" in line] == [told.verdict]
    assert told.report["findings"] == [] and told.report["ready"] and not told.report["cached"]
    assert sorted(path.name for path in run.iterdir()) == ["doctor", "run.toml"]  # nothing sealed
    rows = [line.split() for line in told.out.splitlines()[:4]]
    assert rows[1][:5] == ["synthetic", "gta5", "gta5", "5", "5"] and rows[1][-1] == "16x12"
    assert rows[2][:5] == ["real", "cityscapes", "cityscapes", "4", "-"]
    assert rows[3][:5] == ["held_out", "cityscapes", "cityscapes", "3", "3"]


def test_a_warm_up_as_long_as_the_training_is_a_note(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    told = doctor(configured(tmp_path, "train.steps=50", "train.oracle_steps=51", "train.warmup_steps=50", name="short"))
    assert told.code == 0 and told.verdict.startswith("ready: 1 note above")
    assert "train.steps is 50, train.warmup_steps is 50: the learning rate never reaches its peak" in told.out


def test_the_data_is_drawn_before_the_run_and_again_when_it_changed(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    page = run / "doctor/index.html"
    assert f"the data in charts: {page}" in doctor(run).out
    drawn = page.read_text()
    for words in ("Class shares", "Object sizes", "Class co-occurrence", "Colours"):
        assert words in drawn
    assert f"{tmp_path}/gta: 5 images of 16x12, 5 labels" in drawn and "5 images, 0 labels" not in drawn
    first = page.stat().st_mtime_ns
    doctor(run)
    assert page.stat().st_mtime_ns == first
    gta5_frame(tmp_path / "gta", 6, every_id(), rng=RNG)
    doctor(run)
    assert "6 images" in page.read_text()
    (tmp_path / LABEL).unlink()
    assert "the data in charts" not in doctor(run).out


class Fault(NamedTuple):
    """plant: what is done to the data folder.  at: the file that is named, if one is.  said: what is said of it."""

    plant: Callable[[Path], object]
    at: str
    where: str
    said: str
    stops: bool = True


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damage_middle(path: Path) -> None:
    """Both ends are whole, the pixels are not."""
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)


UNREADABLE = "unreadable files"
IMAGE, LABEL = "gta/images/00003.png", "gta/labels/00003.png"
REAL = "city/leftImg8bit/train/ulm/ulm_000002_000019_leftImg8bit.png"
HELD_OUT = "city/leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png"
HELD_OUT_LABEL = "city/gtFine/val/bonn/bonn_000001_000019_gtFine_labelIds.png"
BLACK, WHITE = (png(np.full((12, 16, 3), level), colour=RGB) for level in (0, 255))
SMALL = png(every_id(shape=(10, 16)), colour=GREY)
STRANGE = png(np.where(every_id() > 31, every_id() + 20, every_id()), colour=PALETTE, palette=np.zeros((256, 3)))
UNLABELLED = png(np.zeros((12, 16)), colour=GREY)

FAULTS = {
    "no label": Fault(lambda data: (data / LABEL).unlink(), IMAGE, "synthetic gta5", "images without a label"),
    "no image": Fault(lambda data: (data / IMAGE).unlink(), LABEL, "synthetic gta5", "labels without an image", stops=False),
    "no held-out label": Fault(
        lambda data: (data / HELD_OUT_LABEL).unlink(), HELD_OUT, "held_out cityscapes", "images without a label"
    ),
    "truncated": Fault(lambda data: truncate(data / IMAGE), IMAGE, "synthetic gta5", "unreadable files (truncated)"),
    "truncated label": Fault(lambda data: truncate(data / LABEL), LABEL, "synthetic gta5", "unreadable files (truncated)"),
    "truncated real": Fault(
        lambda data: truncate(data / REAL), REAL, "real cityscapes", f"{UNREADABLE} (truncated)", stops=False
    ),
    "text": Fault(lambda data: put(data / IMAGE, b"404"), IMAGE, "synthetic gta5", "unreadable files (neither PNG nor JPEG)"),
    "empty": Fault(lambda data: put(data / IMAGE, b""), IMAGE, "synthetic gta5", "unreadable files (empty)"),
    "damaged header": Fault(
        lambda data: put(data / IMAGE, BLACK[:8] + bytes(9) + b"IEND"),
        IMAGE,
        "synthetic gta5",
        "unreadable files (not a readable image (damaged, or of an unknown format))",
    ),
    "dead link to real": Fault(
        lambda data: (data / REAL).unlink() or (data / REAL).symlink_to(data / "gone"),
        REAL,
        "real cityscapes",
        f"{UNREADABLE} (No such file or directory)",
        stops=False,
    ),
    "damaged real pixels": Fault(
        lambda data: damage_middle(data / REAL), REAL, "real cityscapes", f"{UNREADABLE} (", stops=False
    ),
    "dead link": Fault(
        lambda data: (data / IMAGE).rename(data / "x") and (data / IMAGE).symlink_to(data / "gone"),
        IMAGE,
        "synthetic gta5",
        "unreadable files (No such file or directory)",
    ),
    "damaged pixels": Fault(lambda data: damage_middle(data / IMAGE), IMAGE, "synthetic gta5", "unreadable files ("),
    "damaged held-out label": Fault(
        lambda data: damage_middle(data / HELD_OUT_LABEL), HELD_OUT_LABEL, "held_out cityscapes", "unreadable files ("
    ),
    "label of colours": Fault(
        lambda data: put(data / LABEL, BLACK), LABEL, "synthetic gta5", "unreadable files (a label of colours; expected"
    ),
    "black": Fault(lambda data: put(data / IMAGE, BLACK), IMAGE, "synthetic gta5", "constant images (one colour throughout)"),
    "white": Fault(lambda data: put(data / REAL, WHITE), REAL, "real cityscapes", "constant images (one colour throughout)"),
    "copy": Fault(
        lambda data: shutil.copy(data / "gta/images/00001.png", data / IMAGE),
        IMAGE,
        "synthetic gta5",
        "images that are copies of another, byte for byte",
        stops=False,
    ),
    "mis-sized": Fault(
        lambda data: put(data / LABEL, SMALL),
        LABEL,
        "synthetic gta5",
        "labels of another size than their image (16x10, the image 16x12)",
    ),
    "strange ids": Fault(
        lambda data: put(data / LABEL, STRANGE), LABEL, "synthetic gta5", "labels with ids outside the table (ids 52, 53)"
    ),
    "no class": Fault(
        lambda data: put(data / LABEL, UNLABELLED), LABEL, "synthetic gta5", "labels in which no pixel has a class", stops=False
    ),
    "trained on": Fault(
        lambda data: shutil.copy(data / REAL, data / HELD_OUT), HELD_OUT, "held_out", "images that are in real too"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named_with_its_path(run: Path, doctor: Doctor, tmp_path: Path, name: str) -> None:
    plant, at, where, said, stops = FAULTS[name]
    plant(tmp_path)
    told = doctor(run)
    (line,) = [line for line in told.out.splitlines() if line.startswith(f"{where}: 1 {said}")]
    assert f", first {tmp_path / at}; " in line + "; "
    (finding,) = told.report["findings"]
    assert finding["paths"] == [str(tmp_path / at)] and finding["stops"] == stops
    assert (told.code, told.verdict.split(":")[0]) == ((2, "not ready") if stops else (0, "ready"))


def test_missing_folders(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    shutil.rmtree(tmp_path / "gta")
    shutil.rmtree(tmp_path / "city/leftImg8bit/train")
    told = doctor(run)
    assert told.code == 2
    assert f"synthetic gta5: {tmp_path}/gta: no such folder; copy the data set there" in told.out
    assert f"real cityscapes: {tmp_path}/city: no image of layout cityscapes (split train); expected leftImg8bit/" in told.out


def test_all_faults_are_found_at_once(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    images, labels = tmp_path / "gta/images", tmp_path / "gta/labels"
    (labels / "00001.png").unlink()
    truncate(labels / "00002.png")
    put(images / "00003.png", BLACK)
    put(labels / "00004.png", SMALL)
    put(labels / "00005.png", STRANGE)
    for name in ("truncated real", "no held-out label"):
        FAULTS[name].plant(tmp_path)
    told = doctor(run)
    assert told.code == 2
    for path, said in (
        (images / "00001.png", "1 images without a label"),
        (labels / "00002.png", "1 unreadable files (truncated)"),
        (images / "00003.png", "1 constant images"),
        (labels / "00004.png", "1 labels of another size"),
        (labels / "00005.png", "1 labels with ids outside the table (ids 52, 53)"),
    ):
        (line,) = [line for line in told.out.splitlines() if line.startswith(f"synthetic gta5: {said}")]
        assert str(path) in line
    assert "real cityscapes: 1 unreadable files" in told.out and "held_out cityscapes: 1 images without a label" in told.out
    assert told.verdict.startswith("not ready: correct the 6 faults above")


def test_as_many_real_images_may_be_unreadable_as_labelling_leaves_out(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    truncate(tmp_path / REAL)
    told = doctor(run)
    assert told.code == 0 and told.verdict.startswith("ready: 1 note above")
    left_out = f"first {tmp_path / REAL}; they are recorded and left out; teacher.unreadable allows 1; copy them again"
    assert left_out in told.out and "the data in charts" in told.out
    damage_middle(tmp_path / REAL.replace("000002", "000003"))
    told = doctor(run)
    assert told.code == 2 and told.verdict.startswith("not ready: correct the 2 faults above")
    assert f"first {tmp_path / REAL}; teacher.unreadable allows 1; copy them again" in told.out
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("unreadable = 0.01", "unreadable = 0.5"))
    told = doctor(run)
    assert told.code == 0 and told.report["cached"]  # the same files, other rules
    (run / "run.toml").write_text(text.replace("unreadable = 0.01", "unreadable = 0.0"))
    assert doctor(run).code == 2


def test_a_sample_speaks_for_all_real_images(tmp_path: Path, run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4, 20):
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG)
    damage_middle(tmp_path / REAL.replace("000002", "000019"))
    monkeypatch.setattr(facts, "SPREAD", 2)
    monkeypatch.setattr(pixels, "SMALLEST", 0)
    told = doctor(run)
    assert told.code == 2
    assert "teacher.unreadable allows 1, and this sample suggests about 10; --all counts them" in told.out
    assert doctor(run, "--all").code == 0


def test_many_files_of_a_kind_are_counted_and_all_in_the_report(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    for number in range(1, 6):
        (tmp_path / f"gta/labels/{number:05d}.png").unlink()
    told = doctor(run)
    names = [f"{tmp_path}/gta/images/{number:05d}.png" for number in range(1, 6)]
    assert f"synthetic gta5: 5 images without a label, first {', '.join(names[:3])}; add the labels" in told.out
    assert told.report["findings"][0]["paths"] == names


def test_published_faults_are_left_out_and_no_fault(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    put(tmp_path / "gta/images/15188.png", png(np.full((12, 16, 3), 255), colour=RGB))
    put(tmp_path / "gta/labels/15188.png", png(every_id(), colour=GREY))
    gta5_frame(tmp_path / "gta", 20803, every_id(), rng=RNG, shape=(10, 16))
    told = doctor(run)
    assert told.code == 0, told.out
    assert "1 published frames that are left out (15188: a white image)" in told.out
    assert "1 frames that were published with labels of another size are left out" in told.out
    assert "ready: 2 notes above" in told.verdict


def train_ids(shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    return every_id(19, shape)


def test_train_ids_under_the_name_of_label_ids(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    for number in range(3):
        cityscapes_frame(tmp_path / "city", "val", f"bonn_{number:06d}_000019", train_ids(), rng=RNG)
    told = doctor(run)
    assert told.code == 2
    assert "held_out cityscapes: " in told.out and "look like train ids" in told.out


def test_synthia_sf_is_held_against_its_colours_every_time(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    sf = tmp_path / "sf"
    for number in (1, 2):
        synthia_sf_frame(sf, 1, number, every_id(23), rng=RNG)
    other = configured(tmp_path, "synthetic.layout=synthia-sf", f"synthetic.root={sf}", name="other")
    assert doctor(other).code == 0
    debug = sf / "SEQ1/GTLeftDebug/0000002.png"
    kept = debug.read_bytes()
    debug.unlink()  # no file of the listing
    told = doctor(other)
    assert told.code == 2 and f"{debug}: not found" in told.out
    put(debug, kept)
    assert doctor(other).code == 0


def test_synthias_classes_beyond_its_table(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    for number in (1, 2):
        synthia_rand_frame(tmp_path / "rand", number, every_id(23), rng=RNG)
    synthia_rand_frame(tmp_path / "rand", 3, every_id(30), rng=RNG)
    told = doctor(
        configured(tmp_path, "synthetic.layout=synthia-rand-cityscapes", f"synthetic.root={tmp_path}/rand", name="other")
    )
    assert told.code == 2
    assert "class 29 in the first channel" in told.out and "GT/LABELS/0000003.png" in told.out


def test_kitti_without_faults(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    for number in range(10):
        kitti_frame(tmp_path / "kitti", number, every_id(shape=(12, 16 + number)), rng=RNG)
    told = doctor(configured(tmp_path, "held_out.layout=kitti", f"held_out.root={tmp_path}/kitti", name="other"))
    assert told.code == 0, told.out
    assert "16x12 (1), 21x12 (1)" in told.out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["synthetic.layout=plain"], "layout 'plain' has no table of ids; set `ids`"),
        (["held_out.split=test"], "split 'test' has no usable labels; choose another split"),
        (["real.layout=kitti", "real.split=dev"], "split 'dev' of layout kitti; expected one of"),
        (["synthetic.files=none.txt"], "none.txt: cannot be read"),
        (["task.weights=none.pth"], "other/none.pth: no such file (task.weights = 'none.pth')"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path: Path, run: Path, doctor: Doctor, settings: list[str], said: str) -> None:
    cityscapes_frame(tmp_path / "city", "test", "berlin_000000_000019", every_id(), rng=RNG)
    told = doctor(configured(tmp_path, *settings, name="other"))
    assert told.code == 2 and said in told.out, told.out


def test_a_layout_that_was_edited_by_hand(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    other = configured(tmp_path, name="other")
    path = other / "run.toml"
    path.write_text(path.read_text().replace('"gta5"', '"gta6"'))
    told = doctor(other)
    assert told.code == 2 and "layout 'gta6' is not known" in told.out, told.out


def test_a_list_of_frames_is_kept_to_and_its_mistakes_are_named(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    (tmp_path / "names.txt").write_text("00001\n00002\nnobody\n")
    (tmp_path / LABEL).unlink()  # of no frame in the list
    other = configured(tmp_path, f"synthetic.files={tmp_path}/names.txt", name="other")
    told = doctor(other)
    assert told.code == 2 and "1 of 3 names in" in told.out and "first nobody" in told.out
    assert "without" not in told.out
    (tmp_path / "names.txt").write_text("00001\n00002\n")
    told = doctor(other)
    assert told.code == 0 and told.report["data_sets"][0]["images"] == 2


def test_several_sources_are_told_apart(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    for number in (1, 2):
        gta5_frame(tmp_path / "gta2", number, every_id(), rng=RNG)
    put(tmp_path / "gta2/images/00002.png", BLACK)
    text = (run / "run.toml").read_text()
    second = f'\n[[synthetic]]\nlayout = "gta5"\nroot = "{tmp_path}/gta2"\nname = "second"\n'
    (run / "run.toml").write_text(text.replace("[synthetic]", "[[synthetic]]") + second)
    told = doctor(run)
    assert f"synthetic second: 1 constant images (one colour throughout), first {tmp_path}/gta2/images/00002.png" in told.out
    assert [one["where"] for one in told.report["data_sets"]][:2] == ["synthetic gta5", "synthetic second"]


def test_labels_of_real_sources_are_never_looked_at(
    tmp_path: Path, run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "city/gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png", b"nonsense")
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in ("open", "os.scandir", "os.listdir") else None)
    assert doctor(run).code == 0
    assert [path for path in opened if "gtFine/train" in path] == []
    assert [path for path in opened if "gtFine/val" in path] != []  # the hook sees what is opened


def test_the_second_look_is_cached_until_a_file_changes(
    tmp_path: Path, run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAULTS["black"].plant(tmp_path)
    first = doctor(run)
    before = (run / "doctor/sample.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("selfsyn.doctor.data.looked_at", lambda *_, **__: pytest.fail("looked again"))
        again = doctor(run)
    assert "cached" in again.err and again.report["cached"] and not first.report["cached"]
    assert (again.code, again.verdict) == (first.code, first.verdict)
    assert (run / "doctor/sample.json").read_bytes() == before
    assert {**again.report, "cached": False, "estimates": 0, "bytes_to_write": 0, "machine": 0} == {
        **first.report, "estimates": 0, "bytes_to_write": 0, "machine": 0
    }  # fmt: skip
    gta5_frame(tmp_path / "gta", 3, every_id(), rng=RNG)
    mended = doctor(run)
    assert mended.code == 0 and not mended.report["cached"]


@pytest.mark.parametrize("change", ["image", "time", "label", "ids"])
def test_whatever_a_look_depends_on_makes_it_look_again(tmp_path: Path, run: Path, doctor: Doctor, change: str) -> None:
    doctor(run)
    if change == "image":
        cityscapes_frame(tmp_path / "city", "train", "ulm_000009_000019", None, rng=RNG)
    elif change == "time":
        os.utime(tmp_path / IMAGE, (1, 1))
    elif change == "label":
        put(tmp_path / HELD_OUT_LABEL, png(every_id(33), colour=GREY))
    else:
        text = (run / "run.toml").read_text()
        (run / "run.toml").write_text(text.replace("[real]", '[synthetic.ids]\n"0" = "road"\n\n[real]', 1))
    assert not doctor(run).report["cached"]


def test_a_cache_of_another_program_or_a_damaged_one_is_no_cache(run: Path, doctor: Doctor) -> None:
    doctor(run)
    kept = json.loads((run / "doctor/sample.json").read_text())
    for text in (json.dumps({**kept, "format": 0}), "{}", "{"):
        (run / "doctor/sample.json").write_text(text)
        told = doctor(run)
        assert told.code == 0 and not told.report["cached"]


def test_all_looks_at_everything(tmp_path: Path, run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "SPREAD", 2)
    monkeypatch.setattr(pixels, "SMALLEST", 1)
    FAULTS["strange ids"].plant(tmp_path)  # neither first nor last nor small
    put(tmp_path / "gta/images/00004.png", BLACK)  # the smallest
    sample = doctor(run)
    assert "outside the table" not in sample.out and "1 constant images" in sample.out
    assert sample.report["data_sets"][0]["looked_at"] == 3 and "--all: for all" in sample.out
    whole = doctor(run, "--all")
    assert "ids outside the table (ids 52, 53)" in whole.out and "1 constant images" in whole.out
    assert whole.report["data_sets"][0]["looked_at"] == 5 and whole.report["all"] and "--all looks" not in whole.out
    assert doctor(run, "--all").report["cached"] and doctor(run).report["cached"]  # each has its own
    assert "outside the table" not in doctor(run).out


def test_class_shares_are_of_all_pixels(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    ids = np.full((12, 16), 7)  # road
    ids[:3] = 26  # car, a quarter
    ids[3, :8] = 0  # unlabelled, half a row of twelve
    for number in range(1, 6):
        gta5_frame(tmp_path / "gta", number, ids, rng=RNG)
    told = doctor(run)
    shares = told.report["data_sets"][0]["shares"]
    assert (shares["road"], shares["car"], shares["ignore"]) == (0.708333, 0.25, 0.041667)
    lines = {line.rsplit(maxsplit=2)[0]: line.rsplit(maxsplit=2)[1] for line in told.out.splitlines() if len(line.split()) > 2}
    assert (lines["road"], lines["car"], lines["ignore"], lines["sky"]) == ("70.83", "25.00", "4.17", "-")


def test_a_world_that_is_not_rendered_is_no_fault(tmp_path: Path, doctor: Doctor) -> None:
    run = make(tmp_path / "run")
    told = doctor(run)
    assert told.code == 0, told.out
    assert [one["to_come"] for one in told.report["data_sets"]] == [6, 5, 3]
    assert told.report["bytes_to_write"]["world"] == 14 * 64 * 48 * 4
    put(run / "world/manifest.json", b"{}")  # says it is finished, but its frames are gone
    told = doctor(run)
    assert told.code == 2 and "world/engine: no such folder" in told.out


def test_an_unknown_layout_is_a_fault_before_the_world_is_rendered(tmp_path: Path, doctor: Doctor) -> None:
    run = make(tmp_path / "run")
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace('layout = "gta5"', 'layout = "gta6"'))
    told = doctor(run)
    assert told.code == 2 and "layout 'gta6' is not known; expected one of" in told.out


def test_too_little_room(run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    told = doctor(run)
    assert told.code == 2 and f"machine: {run}: 1 kB free, the run will write about" in told.out
    assert "make room, or put the run folder on another disk" in told.verdict


def test_both_packages_of_onnxruntime(run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    both = {"onnxruntime": "1.1", "onnxruntime-gpu": "1.2"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: both.get(name) or version(name))
    told = doctor(run)
    assert told.code == 2
    assert "machine: onnxruntime 1.1 and onnxruntime-gpu 1.2 are both installed and overwrite each other's files" in told.out


@pytest.mark.parametrize(
    ("probe", "code", "said"),
    [
        (Probe((), "No module named 'onnxruntime'"), 2, "machine: onnxruntime does not work here: No module named 'onnxruntime'"),
        (Probe(SOUND.providers, "no driver", no_speed="No module named 'torch'"), 0, "unknown for 5 images"),
        (Probe(SOUND.providers, "no driver", fault="task.backbone 'x': timm cannot"), 2, "run.toml: task.backbone 'x'"),
        (Probe(SOUND.providers, "old driver", Speed("2", "H200", 1, 1, "cpu", 1, 1)), 0, "torch computes on H200, onnxrun"),
    ],
    ids=["no onnxruntime", "no torch", "no such backbone", "CUDA in torch alone"],
)  # fmt: skip
def test_what_other_processes_found_out(
    run: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, probe: Probe, code: int, said: str
) -> None:
    monkeypatch.setattr(job, "probed", lambda root, config: probe)
    told = doctor(run)
    assert told.code == code and said in told.out, told.out


def config_of(run: Path) -> RunConfig:
    return configuration.load(run / "run.toml")


def test_times_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "usable_cores", lambda: 4)
    codec = Codec(seconds=0.4, image_bytes=0, label_bytes=0)
    adapt, label = times.estimates(SOUND, synthetic=100, real=60, codecs=(codec, None))
    assert (adapt.seconds, label.seconds) == (100 * (2.0 / 4 + 0.4 / 4), 60 * 1.0 / 4)
    assert "about 60 s for 100 images" in adapt.says and "without reading and writing" in label.says
    on_gpu = Probe(SOUND.providers, "", Speed("2.0", "H200", 2.0, 1.0, "cuda", 1, 1))
    assert times.estimates(on_gpu, synthetic=100, real=60, codecs=(codec, None))[0].seconds == pytest.approx(210)
    none = times.estimates(Probe(no_speed="no torch"), synthetic=100, real=60, codecs=(codec, None))
    assert [one.seconds for one in none] == [None, None]
    assert "(no torch); reading and writing alone about 10 s" in none[0].says
    assert [times.duration(s) for s in (1.25, 59, 119, 120, 7300, 200_000)] == [
        "1.2 s",
        "59 s",
        "119 s",
        "2 min",
        "2 h",
        "2.3 days",
    ]


def test_frames_of_another_split_of_the_same_folders_are_not_missing(tmp_path: Path, doctor: Doctor, run: Path) -> None:
    names = [f"{clip}{number:02d}" for clip in (1, 3, 5, 7, 9, 11) for number in (1, 2)]
    for name in names:
        put(tmp_path / f"carla/images/{name}.png", photo(RNG, (24, 32)))
        put(tmp_path / f"carla/labels/{name}.png", png(np.full((24, 32), 7, np.uint8), colour=GREY))
    carla = configured(tmp_path, f"synthetic.root={tmp_path}/carla", "synthetic.layout=carla-0.9.11", name="carla-run")
    assert "labels without an image" not in doctor(carla).out
    (tmp_path / "some.txt").write_text("\n".join(names))
    told = doctor(
        configured(
            tmp_path,
            f"synthetic.root={tmp_path}/carla",
            "synthetic.layout=carla-0.9.11",
            f"synthetic.files={tmp_path}/some.txt",
            name="some",
        )
    )
    assert told.code == 2 and "4 of 12 names in" in told.out and "are frames of another split than 'train'" in told.out
    assert "choose another split" in told.verdict


def test_room_by_hand(run: Path) -> None:
    config, layout = config_of(run), Layout(run)
    codec = Codec(seconds=0, image_bytes=900.0, label_bytes=100.0)
    parts = room.to_write(layout, config, synthetic=10, real=5, codec=codec, speed=SOUND.speed)
    assert parts == {"adapted": 10_000, "labels": 2 * 5 * (100 + 64 * 48), "models": 4 * 1000 * 24 + 100 * 32}
    put(layout.adapted / "manifest.json", b"{}")
    put(layout.task(Stage("round-0")) / "manifest.json", b"{}")
    put(layout.labels(1) / "shard-00000-of-00001/manifest.json", b"{}")
    parts = room.to_write(layout, config, synthetic=10, real=5, codec=codec, speed=SOUND.speed)
    assert parts == {"labels": 5 * (100 + 64 * 48), "models": 3 * 1000 * 24 + 100 * 32}
    assert room.to_write(layout, config, synthetic=10, real=5, codec=codec, speed=None) == {"labels": 5 * (100 + 64 * 48)}
    assert [amount(n) for n in (0, 999, 1500, 2_340_000, 7.1e9, 1.5e13)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.34 MB",
        "7.1 GB",
        "15 TB",
    ]


def test_jpeg_images_and_masks_of_ones_own(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    from PIL import Image

    for number in range(3):
        path = tmp_path / f"own/images/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2])
    told = doctor(configured(tmp_path, "real.layout=plain", f"real.root={tmp_path}/own", name="other"))
    assert told.code == 0 and f"real plain: 1 unreadable files (truncated), first {path}; they are recorded" in told.out


def test_without_a_run_it_is_one_line(tmp_path: Path) -> None:
    code, said = selfsyn_here("doctor", "--run", tmp_path)
    assert (code, len(said.strip().splitlines())) == (2, 1) and "run.toml: not found" in said
    assert list(tmp_path.iterdir()) == []


def test_a_changed_sealed_run_is_refused(run: Path) -> None:
    shutil.copy(run / "run.toml", run / "sealed.toml")
    (run / "run.toml").write_text((run / "run.toml").read_text().replace("seed = 0", "seed = 1"))
    code, said = selfsyn_here("doctor", "--run", run)
    assert code == 2 and "seed: 0 -> 1" in said


def test_help_explains_every_option() -> None:
    shown = CliRunner().invoke(cli, ["doctor", "--help"]).output
    assert "--run" in shown and "--all" in shown and "not ready" in shown


PROGRAM = """
import sys
from jobs.__main__ import main

if __name__ == "__main__":
    sys.argv = ["selfsyn", "doctor", "--run", sys.argv[1]]
    try:
        main()
    finally:
        print("torch" in sys.modules, file=sys.stderr)
"""


def test_torch_and_onnxruntime_are_asked_in_other_processes(tmp_path: Path, run: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(run)]
    first, again = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stderr.splitlines()[-1] == "False"
    assert "CPUExecutionProvider loads" in first.stdout or "CUDAExecutionProvider" in first.stdout
    assert "images: each" in first.stdout and "unknown for" not in first.stdout
    speed = json.loads((run / "doctor/speed.json").read_text())["contents"]
    assert speed["adapt_seconds"] > 0 and speed["task_parameters"] > 1000
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1] and "cached" in again.stderr


def test_a_net_that_is_timed_takes_the_memory_of_its_largest_layer() -> None:
    import torch

    from selfsyn.task import build

    task = Task(backbone="resnet18", weights="scratch", decoder_channels=8)
    net, whole = (
        speed.weightless(lambda: build(task, pretrained=False), device=torch.device("cpu")),
        build(task, pretrained=False),
    )
    tensors = (*net.parameters(), *net.buffers())
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    largest = max(parameter.numel() for parameter in whole.parameters())
    assert sum(held.values()) == 4 * largest + 8  # and the one number of a counter of batches
    assert [(key, value.shape) for key, value in net.state_dict().items()] == [
        (k, v.shape) for k, v in whole.state_dict().items()
    ]
    assert net.eval()(torch.zeros(1, 3, 32, 64)).main.shape == (1, 19, 32, 64)


def test_a_net_that_needs_numbers_while_it_is_built_has_weights_of_its_own() -> None:
    import torch

    def build() -> torch.nn.Module:
        return torch.nn.Linear(2, 2, bias=torch.ones(()).item() > 0)

    net = speed.weightless(build, device=torch.device("cpu"))
    assert isinstance(net, torch.nn.Linear) and net.weight.abs().sum() > 0
    with pytest.raises(InputError, match="no such net"):
        speed.weightless(lambda: (_ for _ in ()).throw(InputError("no such net")), device=torch.device("cpu"))


def test_without_torch_the_speed_is_not_known(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    speed, reason, fault = job._speed(config_of(run), "cpu")
    assert speed is None and "torch" in reason and fault == ""


def test_a_process_that_dies_is_said() -> None:
    assert job._in_other_process(os.abort) is None
    assert job._in_other_process(os.getpid) != os.getpid()


def test_a_border_without_pseudo_labels_is_told(tmp_path: Path, run: Path, doctor: Doctor) -> None:
    assert "no pseudo-labels" not in doctor(run).out
    told = doctor(configured(tmp_path, "real.border=[3, 0, 9, 16]", name="other"))
    line = "real cityscapes: no pseudo-labels in the border, top 3, right 0, bottom 9, left 16 of 64x48 pixels: 44% of each image"
    assert told.code == 0 and line in told.out, told.out  # 1 - 48 * 36 / (64 * 48)
