"""The report: a fake finished run on disk, the real command, and then the page is read like a browser would."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from merging import merged
from numpy.typing import NDArray
from PIL import Image

from jobs.report import command
from selfsyn import config as configuration
from selfsyn.calibration import calibration, joint_counts
from selfsyn.config import Adapter, HeldOut, Rounds, RunConfig, Source, Teacher, Train, World
from selfsyn.errors import InputError, NotReadyError
from selfsyn.files import digest_bytes, write_atomic, write_json
from selfsyn.flow import Phase, phases
from selfsyn.images import encode_label_png, encode_png
from selfsyn.labels import CLASSES, IGNORE, LABEL_ID_OF_TRAIN_ID, PALETTE, protocol
from selfsyn.layout import Layout
from selfsyn.manifest import MANIFEST
from selfsyn.metrics import confusion, scores
from selfsyn.phase import begin, finish, is_done
from selfsyn.pseudo_labels import LabelStore, encode_histogram, histogram
from selfsyn.report.charts import Curve, Panel, curve_row, thinned
from selfsyn.report.collect import Run, Score, collect, read_curves
from selfsyn.report.content import content_charts, hallucination
from selfsyn.report.facts import budget, duration, updates_in_all
from selfsyn.report.opening import fair, next_steps, opening_gallery
from selfsyn.report.page import render
from selfsyn.report.verdict import caveat, gap_closed, headline
from selfsyn.rounds import agreement
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage

FRAMES = 7
QUALITY = {SOURCE_ONLY: 0.4, round_stage(0): 0.55, round_stage(1): 0.7, round_stage(2): 0.75, ORACLE: 0.9}
CONTENT = {
    "agreement_source": 0.8,
    "agreement_adapted": 0.725,
    "moved": 0.04,
    "shares_source": dict.fromkeys(CLASSES, 1 / 19),
    "shares_adapted": {name: 1 / 19 + 0.04 * (name == "vegetation") - 0.04 * (name == "sky") for name in CLASSES},
}


# ---- a fake run: what the phases leave on disk, without their work ----


def street(index: int, *, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """-> an image and its train ids: sky, buildings, road, a pavement and a car; another one for each index."""
    width, height = size
    random = np.random.default_rng(index)
    label = np.full((height, width), 10, dtype=np.uint8)
    for left in range(0, width, width // 5):
        label[height // 2 - int(random.integers(height // 8, height // 3)) : height // 2, left : left + width // 6] = 2
    label[height // 2 :] = 1
    label[height // 2 :, width // 5 : -width // 5] = 0
    left, top = int(random.integers(width // 2)), height // 2 + int(random.integers(height // 5))
    label[top : top + height // 6, left : left + width // 5] = 13
    label[-2:] = IGNORE
    colours = np.vstack([PALETTE, np.zeros((256 - len(PALETTE), 3), np.uint8)]).astype(float)
    image = colours[label] * 0.7 + random.normal(40, 12, (height, width, 1))
    return image.clip(0, 255).astype(np.uint8), label


def guessed(label: NDArray[np.uint8], *, quality: float, seed: int) -> NDArray[np.uint8]:
    """Train ids with blocks of wrong classes, the fewer the better the quality."""
    random = np.random.default_rng(seed)
    guess = np.where(label == IGNORE, 0, label).astype(np.uint8)
    height, width = label.shape
    for _ in range(int(40 * (1 - quality))):
        top, left = int(random.integers(height)), int(random.integers(width))
        guess[top : top + height // 6, left : left + width // 8] = random.choice([0, 1, 2, 8, 10, 13])
    return guess


@dataclass
class FakeRun:
    """Writes a run folder phase by phase with the real begin and finish."""

    root: Path
    size: tuple[int, int] = (64, 48)
    recipe: str = "tiny"
    with_held_out: bool = True
    draw: Any = field(default=street)
    world: World = field(default_factory=World)
    teacher: Teacher = field(default_factory=Teacher)

    def __post_init__(self) -> None:
        """Write run.toml and the data sets."""
        self.real = "world/camera" if self.world.camera else "data/real"
        held_out = HeldOut("cityscapes", self.real) if self.with_held_out else None
        self.config = RunConfig(
            self.recipe, 7, self.size, (Source("gta5", "data/synthetic"),), (Source("cityscapes", self.real),), held_out,
            adapter=Adapter(crop=32), train=Train(steps=300, batch=8), world=self.world,
            teacher=self.teacher,
        )  # fmt: skip
        self.layout = Layout(self.root)
        write_atomic(self.layout.configuration, configuration.to_toml(self.config).encode())
        for index in range(FRAMES):
            self._write_data(index)

    def _write_data(self, index: int) -> None:
        data = self.root / "data"
        image, label = self.draw(index, size=self.size)
        write_atomic(data / f"synthetic/images/{index + 1:05d}.png", encode_png(image))
        write_atomic(data / f"synthetic/labels/{index + 1:05d}.png", encode_png(LABEL_ID_OF_TRAIN_ID[label]))
        for split, offset in (("train", 100), ("val", 200)):
            image, label = self.draw(offset + index, size=self.size)
            name = f"{split}/city/city_{index:06d}"
            write_atomic(self.root / self.real / f"leftImg8bit/{name}_leftImg8bit.png", encode_png(image[:, :, ::-1].copy()))
            if split == "val" and self.with_held_out:
                write_atomic(
                    self.root / self.real / f"gtFine/{name}_gtFine_labelIds.png", encode_png(LABEL_ID_OF_TRAIN_ID[label])
                )

    def complete(self, *, rounds: int, with_bounds: bool = False) -> FakeRun:
        """Every phase up to round `rounds`, except the report."""
        for phase in phases(self.config, rounds=rounds, with_bounds=with_bounds):
            if phase.verb != "report":
                self._complete(phase)
        return self

    def _complete(self, phase: Phase) -> None:
        if is_done(self.layout, phase):
            return
        started = begin(self.layout, self.config, phase)
        counts = getattr(self, f"_{phase.verb.replace('-', '_')}")(phase)
        finish(started, outputs={"all": digest_bytes(phase.name.encode())}, counts=counts, device="fake device")

    def _world(self, phase: Phase) -> dict[str, Any]:
        return vars(self.world)

    def _train(self, phase: Phase) -> dict[str, Any]:
        steps = range(0, 300, 3)
        assert phase.stage is not None
        fall = 1 - 0.02 * QUALITY[phase.stage]
        rows = [{"step": s, "loss": 2.5 * fall**s + 0.3, "loss_synthetic": 2.2 * fall**s, "lr": 1e-3} for s in steps]
        _write_lines(self.root / phase.folder / "history.jsonl", rows)
        return {"steps": 300 if phase.arguments[0] == "--bound" else 40, "batch": 8}

    def _export_teacher(self, phase: Phase) -> dict[str, Any]:
        return {"opset": 18}

    def _evaluate(self, phase: Phase) -> dict[str, Any]:
        stage = phase.stage
        assert stage is not None
        scored = protocol("cityscapes-19")
        total, joint = np.zeros((19, 19), dtype=np.int64), np.zeros((19, 19, 256), dtype=np.int64)
        for index in range(FRAMES):
            _, label = self.draw(200 + index, size=self.size)
            guess = guessed(label, quality=QUALITY[stage], seed=index)
            total += confusion(merged(scored, label), merged(scored, guess), classes=19)
            sure = np.where(guess == label, 220, 120 + 20 * (index % 3)).astype(np.uint8)
            joint += joint_counts(label, guess, sure)
            write_atomic(self.layout.evaluation(stage) / f"pictures/city_{index:06d}.png", encode_label_png(guess))
        metrics = scores(total, protocol=scored) | {"calibration": calibration(joint, protocol=scored, portion=0.5)}
        write_json(self.layout.evaluation(stage) / "metrics.json", metrics)
        return {"images": FRAMES}

    def _fit_adapter(self, phase: Phase) -> dict[str, Any]:
        rows = [
            {"step": s, "gan_target": 0.25 + 0.01 * (s % 5), "gan_source": 0.2, "cycle_target": 1 / (1 + s), "generators": 2.0}
            | (CONTENT if s % 10 == 0 else {})
            for s in range(40)
        ]
        _write_lines(self.root / phase.folder / "history.jsonl", rows)
        sheet = np.hstack([self.draw(index, size=self.size)[0] for index in range(4)])
        write_atomic(self.root / phase.folder / "samples.png", encode_png(sheet))
        return {"steps": 40, "agreement_adapted": CONTENT["agreement_adapted"]}

    def _adapt(self, phase: Phase) -> dict[str, Any]:
        for index in range(FRAMES):
            image, label = self.draw(index, size=self.size)
            write_atomic(self.root / phase.folder / f"images/{index + 1:05d}.png", encode_png(image[:, :, ::-1].copy()))
            write_atomic(self.root / phase.folder / f"labels/{index + 1:05d}.png", encode_label_png(label))
        return {"images": FRAMES}

    def _pseudo_label(self, phase: Phase) -> dict[str, Any]:
        folder, counts, rows = self.root / phase.folder, np.zeros((19, 256), dtype=np.int64), []
        for index in range(FRAMES):
            name = f"city_{index:06d}"
            _, label = self.draw(100 + index, size=self.size)
            guess = guessed(label, quality=0.7, seed=index + 10 * int(phase.arguments[1]))
            sure = np.random.default_rng(index).integers(100, 256, guess.shape).astype(np.uint8)
            counts += histogram(guess, sure)
            row = {"name": name, "label": f"labels/{name}.png", "confidence": f"confidence/{name}.png"}
            write_atomic(folder / row["label"], encode_label_png(guess))
            write_atomic(folder / row["confidence"], encode_png(sure))
            rows.append(row)
        _write_lines(folder / "index.jsonl", rows)
        write_atomic(folder / "histogram.npz", encode_histogram(counts))
        return {"images": FRAMES, "teacher": "sha256:" + 64 * "a"}


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


# ---- the page as a reader's program sees it ----


class Page(HTMLParser):
    """The page's text, tables, links and pictures."""

    VOID = frozenset({"meta", "img", "link", "br", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.words, self.open = text, "", []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.alts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "xlink:href", "srcset", "action", "poster"):
                self.links.append(value or "")
            self.ids += [value or ""] if key == "id" else []
            self.alts += [value or ""] if key == "alt" else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag in self.VOID:
            self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data.replace("\u00a0", " ").replace("\u2011", "-")
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()

    @property
    def scores(self) -> list[list[str]]:
        return next(table for table in self.tables if table[0][0] == "stage")


def report(root: Path, *arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(command, ["--run", str(root), *arguments])
    if isinstance(outcome.exception, InputError | NotReadyError):
        return outcome.exception.exit_code, str(outcome.exception)
    if outcome.exception is not None:
        raise outcome.exception
    return outcome.exit_code, outcome.stderr


def page_of(root: Path) -> Page:
    return Page((root / "report" / "index.html").read_text())


def metrics_of(root: Path, stage: Stage) -> dict[str, Any]:
    return json.loads((root / stage.name / "evaluation" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two rounds, both bounds and its report. Tests that change a run make their own."""
    run = FakeRun(tmp_path_factory.mktemp("finished")).complete(rounds=2, with_bounds=True)
    assert report(run.root)[0] == 0
    return run.root


def test_every_score_is_on_the_page(finished: Path) -> None:
    header, *rows = page_of(finished).scores
    assert [row[0] for row in rows] == ["source-only", "round 0", "round 1", "round 2", "oracle"]
    for row, stage in zip(rows, QUALITY, strict=True):
        metrics = metrics_of(finished, stage)
        shown = dict(zip(header, row, strict=True))
        assert shown["mIoU"] == f"{metrics['miou']:.3f}"
        assert shown["pixel accuracy"] == f"{metrics['pixel_accuracy']:.3f}"
        for name, value in metrics["class_iou"].items():
            assert shown[name] == ("absent" if value is None else f"{value:.3f}")
    assert metrics_of(finished, ORACLE)["class_iou"]["train"] is None


def test_the_headline_and_the_gap_come_from_the_scores(finished: Path) -> None:
    page = page_of(finished)
    source, last, oracle = (metrics_of(finished, stage)["miou"] for stage in (SOURCE_ONLY, round_stage(2), ORACLE))
    share = f"{(last - source) / (oracle - source):.0%}".replace("%", " %")
    assert f"{source:.3f} source-only → {last:.3f} after round 2 ({oracle:.3f} with real labels: {share} of the gap" in page.words
    header, *rows = page.scores
    assert [row[header.index("gap closed")] for row in (rows[0], rows[3], rows[4])] == ["0 %", share, "100 %"]


def test_provenance_is_one_click_away(finished: Path) -> None:
    page = page_of(finished)
    for stage in QUALITY:
        link = f"manifests/{stage}/evaluation.json"
        assert link in page.links
        assert (finished / "report" / link).read_bytes() == (finished / str(stage) / "evaluation" / MANIFEST).read_bytes()
    phase_names = {row[0] for row in next(table for table in page.tables if table[0][0] == "phase")}
    assert {"train --round 2", "adapt", "pseudo-label --round 1 --shard 0 --shards 1", "evaluate --bound oracle"} <= phase_names
    assert "steps = 300" in page.words
    assert "updates of 8 images: source-only 300, round-0 40 more (340 in all), round-1 40 more (380 in all)" in page.words


def test_the_page_stands_alone_and_its_links_exist(finished: Path, tmp_path: Path) -> None:
    page = page_of(finished)
    copied = tmp_path / "report"  # as from a cluster's volume, without the run folder
    shutil.copytree(finished / "report", copied)
    assert page.open == [], "every element is closed"
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif not link.startswith("data:image/"):
            assert not link.startswith(("http", "//", "/")), link
            assert not link.startswith("..") and (copied / link).exists(), link
    assert "http" not in page.source
    assert "@import" not in page.source and page.source.count("url(") == page.source.count("url(#")
    assert len(page.ids) == len(set(page.ids))


def test_pictures_show_what_each_stage_did(finished: Path) -> None:
    alts = page_of(finished).alts
    for column in ("synthetic", "adapted", "its label", "pseudo-label, round 2", "confidence, round 2", "ground truth", "oracle"):
        assert sum(alt.startswith(f"{column} of ") for alt in alts) == 6, column


def test_pictures_decode_and_unsure_pixels_are_black(finished: Path) -> None:
    page = page_of(finished)
    pictures = [_decoded(link) for link in page.links if link.startswith("data:")]
    assert len(pictures) == len(page.alts)
    by_alt = dict(zip(page.alts, pictures, strict=True))
    pseudo = np.asarray(by_alt["pseudo-label, round 1 of city_000000"].convert("RGB"))
    black = (pseudo == 0).all(axis=2).mean()
    assert 0.4 < black < 0.55, "the portion of round 1 is a half"


def _decoded(uri: str) -> Image.Image:
    import base64

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_the_charts_have_a_line_for_each_stage(finished: Path) -> None:
    page = page_of(finished)
    for title in (
        "Class IoU",
        "Scores by round",
        "Training losses",
        "Adapter losses",
        "Pseudo-labels used",
        "Reliability: does confidence match accuracy?",
        "Calibration by class",
        "Coverage by class",
        "Agreement with the previous round's labels",
        "Class shares",
        "Object sizes",
        "Class co-occurrence",
        "Colours",
    ):
        assert title in page.words
    assert page.source.count("<svg") == 15
    assert "color-mix(in oklab, var(--late)" in page.source and "#0a0b" not in page.source


def test_the_calibration_of_every_stage_is_drawn(finished: Path) -> None:
    page = page_of(finished)
    for stage in QUALITY:
        error = 100 * metrics_of(finished, stage)["calibration"]["ece"]
        assert f"{stage.title}: error {error:.1f} %" in page.words
    assert "Calibration by class" in page.words and "Coverage by class" in page.words
    assert (
        "Round 2, held-out images. Share of each true class's pixels that get a label" in page.words
    )  # of the method, not the oracle


def test_agreement_of_two_rounds_by_hand(finished: Path) -> None:
    stores = [LabelStore(finished / f"round-{round_}/labels") for round_ in (1, 2)]
    maps = [np.concatenate([store.maps(name)[0] for name in store.names]) for store in stores]
    share = (maps[0] == maps[1]).mean()
    assert share < 1
    words = page_of(finished).words
    assert f"All pixels: {share:.1%} round 2 with round 1." in words
    assert f"Round 2 changed {1 - share:.1%} of the labels: another round would change about as many, or fewer." in words
    counts = agreement(*stores)
    road = maps[0] == 0
    assert counts[0].sum() == road.sum() and counts[0, 0] == (maps[1][road] == 0).sum()


def test_a_run_of_early_evaluations_has_no_calibration_but_agreement(tmp_path: Path) -> None:
    run = FakeRun(tmp_path).complete(rounds=2)
    for path in tmp_path.glob("*/evaluation/metrics.json"):
        metrics = json.loads(path.read_text())
        del metrics["calibration"]
        path.write_text(json.dumps(metrics))
    for shard in tmp_path.glob("round-*/labels/shard-*"):  # and one image could not be read
        rows = (shard / "index.jsonl").read_text().splitlines()
        skipped = {"name": json.loads(rows[0])["name"], "image": "a.png", "skipped": "not a readable image"}
        (shard / "index.jsonl").write_text("\n".join([json.dumps(skipped), *rows[1:]]) + "\n")
    assert report(run.root)[0] == 0
    page = page_of(tmp_path)
    assert "Calibration by class" not in page.words and "Agreement with the previous round's labels" in page.words
    assert not any("confidence" in alt and "city_000000" in alt for alt in page.alts)
    assert any("confidence" in alt and "city_000001" in alt for alt in page.alts)


def test_the_two_directions_of_the_adapter_share_a_panel(finished: Path) -> None:
    source = page_of(finished).source
    for title in ("gan", "cycle", "generators"):
        assert len(re.findall(rf"<text[^>]*>{title}</text>", source)) == 1, title
    assert "gan_target" not in source and "gan target" not in source


def test_again_is_nothing_to_do_and_force_makes_the_same_bytes(finished: Path) -> None:
    before = (finished / "report" / "index.html").read_bytes()
    code, said = report(finished)
    assert code == 0 and "already done" in said
    assert report(finished, "--force")[0] == 0
    assert (finished / "report" / "index.html").read_bytes() == before


def test_a_new_round_makes_the_page_anew(tmp_path: Path) -> None:
    run = FakeRun(tmp_path).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    assert [row[0] for row in page_of(tmp_path).scores[1:]] == ["source-only", "round 0"]
    run.complete(rounds=1)
    code, said = report(tmp_path)
    assert code == 0 and "already done" not in said
    assert [row[0] for row in page_of(tmp_path).scores[1:]] == ["source-only", "round 0", "round 1"]
    assert "with real labels" not in page_of(tmp_path).words, "no oracle, no word about it"


def test_without_held_out_labels_the_page_says_so(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, with_held_out=False).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    page = page_of(tmp_path)
    assert "so its accuracy on real images is unknown" in page.words
    assert not any(table[0][0] == "stage" for table in page.tables)
    assert "Training losses" in page.words
    run.complete(rounds=1)
    assert "already done" not in report(tmp_path)[1]


def test_a_last_round_that_learned_for_longer_says_so(finished: Path, tmp_path: Path) -> None:
    assert "Round 2 has had 420 updates, source-only 300" in page_of(finished).words  # 300 and three times 40 more
    run = collect(Layout(finished), configuration.load(Layout(finished).configuration))
    assert "was still high" not in str(budget(run))
    going_on = replace(run, config=replace(run.config, rounds=Rounds(start="continue")))
    assert "whose learning rate was still high, because round 0 continues that training" in str(budget(going_on))


def test_without_rounds_there_is_no_longer_training_to_warn_of(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    for phase in phases(run.config, rounds=0):
        if phase.folder.startswith("source-only"):
            run._complete(phase)
    assert report(tmp_path)[0] == 0
    assert "updates, source-only" not in page_of(tmp_path).words


def test_a_rendered_camera_is_not_called_real(tmp_path: Path, finished: Path) -> None:
    FakeRun(tmp_path, world=World(engine=7, camera=7)).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    assert "not how it scores on photographs" in page_of(tmp_path).words
    assert "not how it scores on photographs" not in page_of(finished).words


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (Teacher(flip=True, scales=(1.0, 1.5)), "each image is seen as it is and mirrored, at 1, 1.5 of its size"),
        (Teacher(scales=(0.5,), views="labelling"), "as it is, at 0.5 of its size, by teachers that label"),
    ],
)
def test_views_are_told(tmp_path: Path, finished: Path, teacher: Teacher, words: str) -> None:
    FakeRun(tmp_path, teacher=teacher).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    assert words in page_of(tmp_path).words and "of its size" not in page_of(finished).words


def test_unfinished_phases_are_named(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run._complete(phases(run.config, rounds=0)[0])
    assert report(tmp_path)[0] == 0
    making = next(table for table in page_of(tmp_path).tables if table[0][0] == "phase")
    assert [row[0] for row in making if row[3] != "not finished"] == ["phase", "train --bound source-only"]
    assert "adapt" in [row[0] for row in making if row[3] == "not finished"]


def test_an_empty_run_has_nothing_to_report(tmp_path: Path) -> None:
    FakeRun(tmp_path)
    code, said = report(tmp_path)
    assert code == 3 and "selfsyn round" in said
    assert not (tmp_path / "sealed.toml").exists()


def test_a_folder_without_run_toml_is_refused(tmp_path: Path) -> None:
    code, said = report(tmp_path)
    assert code == 2 and "run.toml" in said


def test_text_of_the_run_is_escaped(tmp_path: Path) -> None:
    FakeRun(tmp_path, recipe="<script>alert(1)</script>", with_held_out=False).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    source = (tmp_path / "report" / "index.html").read_text()
    assert "<script" not in source and "&lt;script&gt;alert(1)" in source


def _score(stage: str, miou: float) -> Score:
    return Score(Stage(stage), {"miou": miou}, {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "No held-out scores: the run is not evaluated."),
        ({"source-only": 0.3}, "Held-out mIoU 0.300 source-only; no round is evaluated yet."),
        ({"round-1": 0.3}, "Held-out mIoU 0.300 after round 1; source-only is not evaluated."),
        ({"source-only": 0.3, "round-0": 0.4}, "Held-out mIoU 0.300 source-only → 0.400 after round 0 (+0.100)."),
        (
            {"source-only": 0.3, "round-0": 0.2},
            "Worse than no adaptation: held-out mIoU 0.300 source-only → 0.200 after round 0 (−0.100).",
        ),
        ({"source-only": 0.3, "round-0": 0.3}, "No change: held-out mIoU 0.300 source-only, 0.300 after round 0 (+0.000)."),
        (
            {"source-only": 0.3, "round-2": 0.4, "oracle": 0.5},
            "Held-out mIoU 0.300 source-only → 0.400 after round 2 (0.500 with real labels: 50 % of the gap closed).",
        ),
        (
            {"source-only": 0.3, "round-2": 0.25, "oracle": 0.5},
            "Worse than no adaptation: held-out mIoU 0.300 source-only → 0.250 after round 2"
            " (0.500 with real labels: the gap widened by 25 %).",
        ),
        (
            {"source-only": 0.3, "round-2": 0.4, "oracle": 0.3},
            "Held-out mIoU 0.300 source-only → 0.400 after round 2"
            " (0.300 with real labels, no better than source-only: there is no gap to close).",
        ),
    ],
)
def test_headline_is_honest_about_the_sign(values: dict[str, float], expected: str) -> None:
    assert headline([_score(stage, miou) for stage, miou in values.items()]) == expected


def test_a_better_earlier_round_is_admitted() -> None:
    better = [_score("round-0", 0.4), _score("round-1", 0.5), _score("round-2", 0.45), _score("oracle", 0.9)]
    assert caveat(better) == "Round 1 scored 0.500; the headline uses the last round, not the best."
    assert caveat(better[:2]) is None and caveat([]) is None


def test_gap_closed_by_hand() -> None:
    assert gap_closed(0.4, source=0.3, oracle=0.5) == pytest.approx(0.5)
    assert gap_closed(0.2, source=0.3, oracle=0.5) == pytest.approx(-0.5)
    assert gap_closed(0.4, source=0.5, oracle=0.5) is None


def test_thinned_keeps_the_mean_of_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfsyn.report.charts.POINTS", 3)
    x, y = thinned(np.arange(5.0), np.array([1.0, 3.0, 5.0, 7.0, 9.0]))
    assert x.tolist() == [0.5, 2.5, 4.0] and y.tolist() == [2.0, 6.0, 9.0]
    short = np.arange(3.0)
    assert thinned(short, short)[1].tolist() == short.tolist()


def test_a_step_that_was_repeated_after_a_kill_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    rows = [{"step": 1, "loss": 3.0, "note": "text"}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    _write_lines(path, rows)
    steps, values = read_curves(path)["loss"]
    assert steps.tolist() == [1, 2] and values.tolist() == [3.0, 1.5]
    assert list(read_curves(path)) == ["loss"]


@pytest.mark.parametrize(("seconds", "words"), [(3.21, "3.2 s"), (75.2, "1 min 15 s"), (3723, "1 h 02 min")])
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_report_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, jobs.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_content_has_its_charts_and_too_little_of_it_a_warning(tmp_path: Path) -> None:
    root = FakeRun(tmp_path / "run").complete(rounds=0).root
    layout, config = Layout(root), configuration.load(root / "run.toml")
    run, history = collect(layout, config), layout.adapter / "history.jsonl"
    assert [chart.title.split()[0] for chart in content_charts(run)] == ["Does", "Predictions"]
    assert hallucination(run) is None, "0.725 of 0.8 is more than 0.9: enough"
    history.write_text(history.read_text() + json.dumps({"step": 41} | CONTENT | {"agreement_adapted": 0.7199}) + "\n")
    said = hallucination(run)
    assert said is not None and "80 %" in said and "72 %" in said and "adapter.semantic" in said
    assert said in html.unescape(render(run))
    history.write_text('{"step": 1, "cycle_target": 0.1}\n')
    assert content_charts(run) == [] and hallucination(run) is None


@pytest.mark.filterwarnings("error")
def test_a_curve_of_zeros_is_drawn_without_a_warning() -> None:
    zeros = Panel("loss", (Curve("", "#000000", np.arange(3.0), np.zeros(3)),))
    assert "loss" in curve_row([zeros], name="zeros", columns=1)


# ---- the beginning of the page ----


def run_of(root: Path) -> Run:
    return collect(Layout(root), configuration.load(root / "run.toml"))


def test_the_page_begins_with_the_images_that_changed_most(finished: Path) -> None:
    page = page_of(finished)
    folders = [finished / str(stage) / "evaluation" / "pictures" for stage in (SOURCE_ONLY, round_stage(2))]
    changed = {
        path.stem: np.mean(np.asarray(Image.open(path)) != np.asarray(Image.open(folders[1] / path.name)))
        for path in folders[0].iterdir()
    }
    expected = sorted(changed, key=lambda name: -changed[name])[:6]
    shown = [alt.removeprefix("where they differ of ") for alt in page.alts if alt.startswith("where they differ of ")]
    assert shown == expected and page.alts[0] == f"real image of {expected[0]}"
    assert page.source.index('id="opening"') < page.source.index('id="verdict"') < page.source.index('id="scores"')
    assert page.source.index('id="scores"') < page.source.index('<details class="part"')
    share = f"{np.mean(list(changed.values())):.0%}".replace("%", " %")
    assert f"Round 2 gives {share} of the pixels another class than source-only." in page.words


def test_without_held_out_labels_the_first_and_the_last_labels_are_compared(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, with_held_out=False).complete(rounds=1)
    assert opening_gallery(run_of(tmp_path)) is None
    run.complete(rounds=2)
    found = opening_gallery(run_of(tmp_path))
    assert found is not None
    assert found[0].columns == ("real image", "round 0", "round 1", "where they differ") and len(found[0].rows) == 6


def test_the_verdict_at_equal_budgets_is_read_from_the_comparison_or_missed(tmp_path: Path) -> None:
    FakeRun(tmp_path).complete(rounds=0)
    assert report(tmp_path)[0] == 0
    assert "No source-only net of the same number of updates was trained." in page_of(tmp_path).words
    assert "--rows source-only,ours" in page_of(tmp_path).words
    rows = {
        "source-only": {"updates": 420, "seeds": {"0": {"miou": 0.40}, "1": {"miou": 0.42}, "2": {"miou": 0.9}}},
        "ours": {"updates": 420, "seeds": {"0": {"miou": 0.45}, "1": {"miou": 0.43}}},
    }
    write_json(tmp_path / "compare/table.json", {"deeplabv3plus": rows})
    code, said = report(tmp_path)
    assert code == 0 and "already done" not in said
    words = "At equal budgets (420 updates, mean of seeds 0, 1), our rounds are better than source-only: mIoU 0.410 → 0.440"
    assert words in page_of(tmp_path).words
    assert "already done" in report(tmp_path)[1]
    rows["ours"]["seeds"] = {"0": {"miou": 0.3}}
    write_json(tmp_path / "compare/table.json", {"deeplabv3plus": rows})
    assert "(420 updates, seed 0), our rounds are no better than source-only" in str(fair(run_of(tmp_path)))
    rows["ours"]["seeds"] = {"7": {"miou": 0.3}}
    write_json(tmp_path / "compare/table.json", {"deeplabv3plus": rows})
    assert "different seeds" in str(fair(run_of(tmp_path)))


def test_a_run_whose_source_only_net_has_as_many_updates_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeRun(tmp_path).complete(rounds=1)
    run = run_of(tmp_path)
    (source, *_, last) = run.scores
    assert updates_in_all(run).keys() == {score.stage for score in run.scores}
    monkeypatch.setattr("selfsyn.report.opening.updates_in_all", lambda run: {source.stage: 420, last.stage: 420})
    said = str(fair(run))
    assert said.startswith("At equal budgets (420 updates, seed 7), our rounds are")
    assert f"mIoU {source.miou:.3f} → {last.miou:.3f}" in said
    monkeypatch.setattr("selfsyn.report.opening.updates_in_all", lambda run: {source.stage: 419, last.stage: 420})
    assert "The comparison above is not fair in this respect." in str(fair(run))


def test_what_to_do_next(finished: Path, tmp_path: Path) -> None:
    words = page_of(finished).words
    assert "What to do next." in words and "never occur in the synthetic labels that the charts look at" in words
    absent = re.search(r"([A-Z][a-z, ]+ and [a-z]+) never occur", words)
    seen = {"road", "sidewalk", "building", "sky", "car"}
    assert absent is not None
    assert set(re.split(r", | and ", absent[1].lower())) == set(CLASSES) - seen
    assert "of another aspect" not in words
    run = run_of(FakeRun(tmp_path).complete(rounds=1).root)
    for path in (tmp_path / "data/synthetic/images").iterdir():
        Image.new("RGB", (96, 48)).save(path)
    said = next_steps(run, {}, [])
    assert len(said) == 2 and said[0].startswith(f"`selfsyn pseudo-label --run {tmp_path.name} --round 2` shows")
    assert "The synthetic source gta5 is of another aspect (images of 96 × 48, which 64 × 48 squeezes 1.5 times)" in said[1]
