"""`labels review`: measures by hand, an order that starts with the worst, and a choice that is spread."""

from __future__ import annotations

import csv
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from test_corrections import drawn, taken
from test_exports import NAMES, RUN, SIZE, Export, export, run  # noqa: F401
from tiny_run import selfsyn_here
from tiny_store import write_shard

from selfsyn.images import encode_png
from selfsyn.labels import CLASSES
from selfsyn.pseudo_labels import LabelStore
from selfsyn.review import Measures, measured, spread

ROAD, BUS, SKY = CLASSES.index("road"), CLASSES.index("bus"), CLASSES.index("sky")


def test_measures_of_a_hand_made_label() -> None:
    label = np.full((10, 10), ROAD, np.uint8)
    label[0], label[1, 0] = SKY, BUS  # a tenth, and a hundredth
    confidence = np.full((10, 10), 255, np.uint8)
    confidence[0], confidence[1, 0] = 51, 0
    before = np.full((10, 10), ROAD, np.uint8)
    thresholds = np.full(19, 100)
    found = measured("a", (label, confidence), thresholds=thresholds, before=before)
    assert found.mean_confidence == pytest.approx((89 + 10 * 0.2) / 100)
    assert (found.ignored, found.disagreement) == (0.11, 0.11)
    assert (found.worst_class, found.worst_confidence) == ("bus", 0.0)
    assert found.shares[ROAD] == 890 and found.shares[SKY] == 100 and sum(found.shares) == 1000
    assert found.doubt == pytest.approx((0.09 + 0.11 + 0.11) / 3, abs=1e-4)
    label[1, 0] = ROAD
    alone = measured("a", (label, confidence), thresholds=thresholds, before=before[:5])
    assert alone.disagreement is None and alone.worst_class == "sky"
    assert alone.doubt == pytest.approx((1 - alone.mean_confidence + 0.11) / 2, abs=1e-4)


def of_class(number: int, train_id: int, *, doubt: float) -> Measures:
    shares = [0] * len(CLASSES)
    shares[train_id], shares[ROAD] = 400, 600
    return Measures(f"{number:05d}", 1 - doubt, doubt, "road", 0.5, None, tuple(shares))


def test_a_video_of_one_scene_does_not_fill_the_choice() -> None:
    """The most doubtful 100 images are neighbours; buses and sky are elsewhere."""
    found = [of_class(number, SKY if number < 900 else BUS, doubt=0.9 if 300 <= number < 400 else 0.2) for number in range(1000)]
    chosen = spread(found, count=10)
    assert len(chosen) == len(set(chosen)) == 10
    assert min(np.diff(sorted(chosen))) >= 50
    assert any(number >= 900 for number in chosen) and 1 <= sum(300 <= number < 400 for number in chosen) <= 3
    assert spread(found, count=10) == chosen
    assert sorted(spread(found[:3], count=10)) == [0, 1, 2]


def review(root: Path, *more: object) -> str:
    code, said = selfsyn_here("labels", "review", "--run", root, *more)
    assert code == 0, said
    return said


def rows(root: Path, round_: int = 1) -> list[dict[str, str]]:
    return list(csv.DictReader((root / f"round-{round_}/review/review.csv").read_text().splitlines()))


def test_the_worst_come_first_in_the_table_and_on_the_page(run: Path) -> None:  # noqa: F811
    assert "4 images" in review(run, "--count", 2)
    found = rows(run)
    assert [row["name"] for row in found] == list(NAMES)  # the fixture's confidences grow with the name
    assert found[0]["image"] == "images/a.jpg" and found[0]["disagreement"] == ""
    assert [float(row["doubt"]) for row in found] == sorted((float(row["doubt"]) for row in found), reverse=True)
    page = (run / "round-1/review/index.html").read_text()
    worst = page[page.index('id="worst"') :]
    assert re.findall(r"<h3>(.*?)</h3>", worst) == ["a", "b"] and page.count("data:image/jpeg;base64,") == 8
    assert len((run / "round-1/review/spread.txt").read_text().split()) == 2
    code, said = selfsyn_here(
        "labels", "export", "--run", run, "--to", run / "o", "--as", "coco", "--only", run / "round-1/review/spread.txt"
    )
    assert code == 0, said


def test_disagreement_with_the_round_before(run: Path) -> None:  # noqa: F811
    maps = {name: (np.full(SIZE[::-1], ROAD, np.uint8), np.full(SIZE[::-1], 200, np.uint8)) for name in NAMES}
    write_shard(run / "round-2/labels/shard-00000-of-00001", maps)
    review(run)
    found = {row["name"]: float(row["disagreement"]) for row in rows(run, 2)}
    store = LabelStore(run / "round-1/labels")
    assert found == {name: pytest.approx(np.mean(store.maps(name)[0] != ROAD), abs=1e-4) for name in NAMES}
    assert "changed since last round" in (run / "round-2/review/index.html").read_text()


def test_a_review_that_was_interrupted_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    module = importlib.import_module("jobs.labels.review")
    review(run, "--workers", 2)
    whole = {path.name: path.read_bytes() for path in (run / "round-1/review").iterdir()}
    measure, calls = module._measured, []

    def fails(name: str, *more: object) -> Measures:
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(name, *more)

    monkeypatch.setattr(module, "_measured", fails)
    assert selfsyn_here("labels", "review", "--run", run, "--workers", 1)[0] == 130
    review(run, "--workers", 1)
    assert {path.name: path.read_bytes() for path in (run / "round-1/review").iterdir()} == whole
    assert len(calls) < 3 + len(NAMES)


def test_corrected_images_are_done(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("datumaro")
    mask = drawn(run)
    (folder / "masks/b.png").write_bytes(encode_png(np.where(mask == 255, 0, mask + 1).astype(np.uint8)))
    taken(run, folder, "datumaro")
    review(run)
    assert [row["name"] for row in rows(run)] == ["a", "c", "d"]
    assert "1 corrected" in (run / "round-1/review/index.html").read_text()


def test_without_labels_there_is_nothing_to_review(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    assert selfsyn_here("labels", "review", "--run", tmp_path)[0] == 3


def test_the_page_stays_within_its_budget(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("selfsyn.report.review.BUDGET", 3000)
    review(run)
    page = (run / "round-1/review/index.html").read_text()
    assert 0 < page.count("data:image/jpeg;base64,") < 16 and len(re.findall("<h3>", page)) == 8
