"""`labels import`: what people correct becomes ground truth of the round, above a store that stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_exports import SIZE, Export, contents, export, run  # noqa: F401
from tiny_run import selfsyn_here
from tiny_store import write_shard

from export.formats.polygons import polygon_mask
from export.formats.rle import brush_rle, coco_counts
from jobs.round import corrected_since
from selfsyn.compare import sharing
from selfsyn.config import Augment
from selfsyn.corrections import corrected_store, corrections_of
from selfsyn.data import sources
from selfsyn.data.frames import Frame
from selfsyn.data.mixing import Mix
from selfsyn.errors import InputError
from selfsyn.files import write_json
from selfsyn.flow import train_phase
from selfsyn.images import encode_png, read_ids, resize_label
from selfsyn.labels import CLASSES, IGNORE, PALETTE
from selfsyn.layout import Layout
from selfsyn.phase import STARTED, begin, open_run
from selfsyn.pseudo_labels import LabelStore
from selfsyn.stage import Stage
from selfsyn.task.examples import Border, PseudoLabelledExample
from selfsyn.task.makers import ExampleSource, Labelled, Pseudo

LARGE = (2 * SIZE[0], 2 * SIZE[1])
BUS, SKY = CLASSES.index("bus"), CLASSES.index("sky")


def taken(root: Path, folder: Path, kind: str, *more: object, code: int = 0) -> str:
    found, said = selfsyn_here("labels", "import", "--run", root, "--from", folder, "--as", kind, *more)
    assert found == code, said
    return said


def drawn(root: Path) -> np.ndarray:
    """A person's mask of image b: a bus where the sky was, nothing in the corner, otherwise the labels as they are."""
    mask = resize_label(corrected_store(Layout(root), 1).maps("b")[0], size=LARGE).copy()
    mask[mask == SKY] = BUS
    mask[:10, :10] = IGNORE
    return mask


def correct(folder: Path, kind: str, mask: np.ndarray) -> None:
    """Write the mask of image b into an export, by other means than ours."""
    if kind in ("datumaro", "fiftyone"):
        place = "masks/b.png" if kind == "datumaro" else "fields/segmentation/b.png"
        Image.fromarray(np.where(mask == IGNORE, 0, mask + 1).astype(np.uint8)).save(folder / place)
    elif kind == "cvat":
        colours = np.vstack([PALETTE, np.zeros((256 - len(PALETTE), 3), np.uint8)])
        Image.fromarray(colours[mask]).save(folder / "SegmentationClass/b.png")
    elif kind == "cityscapes":
        ids = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, *[0] * 237])
        Image.fromarray(ids[mask].astype(np.uint8)).save(folder / "gtFine/train/real/b_gtFine_labelIds.png")
    elif kind == "coco":
        path = folder / "annotations/instances_default.json"
        found = json.loads(path.read_text())
        number = next(one["id"] for one in found["images"] if one["file_name"] == "b.png")
        found["annotations"] = [one for one in found["annotations"] if one["image_id"] != number] + [
            {"image_id": number, "category_id": int(k) + 1, "segmentation": {"counts": coco_counts(mask == k)}}
            for k in np.unique(mask[mask != IGNORE])
        ]
        path.write_text(json.dumps(found))
    else:
        size = {"original_width": mask.shape[1], "original_height": mask.shape[0]}
        brushes = [
            {"type": "brushlabels", **size, "value": {"rle": brush_rle(mask == k), "brushlabels": [CLASSES[k]]}}
            for k in np.unique(mask[mask != IGNORE])
        ]
        for path in folder.glob("tasks-*"):
            path.unlink()
        task = {"data": {"image": "/data/upload/1/0a1b2c3d-b.png"}, "annotations": [{"result": brushes}], "predictions": []}
        (folder / "project-1.json").write_text(json.dumps([task]))


@pytest.mark.parametrize("kind", ["datumaro", "cvat", "label-studio", "fiftyone", "coco", "cityscapes"])
def test_a_corrected_mask_comes_back_in_every_format(kind: str, run: Path, export: Export) -> None:  # noqa: F811
    folder, mask, before = export(kind, "--kept-fraction", 0.6), drawn(run), contents(run / "round-1/labels")
    correct(folder, kind, mask)
    said = taken(run, folder, kind)
    given = np.count_nonzero(mask != IGNORE)
    assert f"1 corrected images, {given:,} pixels" in said
    assert kind == "label-studio" or "left out 3 without another class" in said
    store = corrected_store(Layout(run), 1)
    assert list(store.corrections) == ["b"] and np.array_equal(store.read("b", portion=0.01), mask)
    assert store.counted == {"corrected_images": 1, "corrected_pixels": given}
    assert contents(run / "round-1/labels") == before
    _, row = store.corrections["b"]
    assert row.changed == np.count_nonzero(mask == BUS) - np.count_nonzero(before_of(run) == BUS)
    assert (row.tool, row.origin, row.teacher) == (kind, str(folder), store.teacher)


def before_of(root: Path) -> np.ndarray:
    """The label that the teacher gave to image b, without the corner that the person left empty."""
    label = resize_label(read_ids(root / "round-1/labels/shard-00000-of-00001/labels/b.png"), size=LARGE).copy()
    label[:10, :10] = IGNORE
    return label


def test_polygons_are_filled(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("coco")
    path = folder / "annotations/instances_default.json"
    found = json.loads(path.read_text())
    square = [10, 4, 19, 4, 19, 9, 10, 9]
    found["annotations"] = [{"image_id": 2, "category_id": BUS + 1, "segmentation": [square]}]
    path.write_text(json.dumps(found))
    taken(run, folder, "coco")
    mask = corrected_store(Layout(run), 1).read("b", portion=1.0)
    assert (mask[4:9, 10:19] == BUS).all() and np.count_nonzero(mask != IGNORE) == 45


def test_a_polygon_holds_the_pixels_whose_centres_it_holds() -> None:
    draw = np.random.default_rng(0)
    for corners in (3, 4, 7, 12):
        points = draw.uniform(-5, 45, (corners, 2))
        mask = polygon_mask(points.ravel(), height=32, width=40)
        centres = np.stack(np.meshgrid(np.arange(40) + 0.5, np.arange(32) + 0.5), axis=-1).reshape(-1, 2)
        assert np.array_equal(mask.ravel(), [is_inside(centre, points) for centre in centres])
    assert np.count_nonzero(polygon_mask([0, 0, 40, 0, 40, 40, 0, 40], height=50, width=50)) == 1600


def is_inside(point: np.ndarray, ring: np.ndarray) -> bool:
    """Whether a ray to the right crosses an odd number of edges, edge by edge."""
    crossed = 0
    for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if (y <= point[1]) != (next_y <= point[1]):
            crossed += point[0] >= x + (point[1] - y) / (next_y - y) * (next_x - x)
    return crossed % 2 == 1


def test_rings_of_a_shape_are_united(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("coco")
    path = folder / "annotations/instances_default.json"
    found = json.loads(path.read_text())
    rings = [[0, 0, 40, 0, 40, 40, 0, 40], [10, 10, 20, 10, 20, 20, 10, 20]]
    found["annotations"] = [{"image_id": 2, "category_id": BUS + 1, "segmentation": rings}]
    path.write_text(json.dumps(found))
    taken(run, folder, "coco")
    assert np.count_nonzero(corrected_store(Layout(run), 1).read("b", portion=1.0) == BUS) == 1600


Spoil = Callable[[dict], object]


@pytest.mark.parametrize(
    ("kind", "file", "spoil"),
    [
        ("coco", "annotations/instances_default.json", lambda found: found["annotations"][0].pop("segmentation")),
        ("coco", "annotations/instances_default.json", lambda found: found["annotations"][0].update(segmentation=[])),
        ("coco", "annotations/instances_default.json", lambda found: found["annotations"][0].update(segmentation=[[]])),
        ("coco", "annotations/instances_default.json", lambda found: found["annotations"][0].update(category_id=99)),
        ("coco", "annotations/instances_default.json", lambda found: found["images"][0].pop("width")),
        ("datumaro", "dataset_meta.json", lambda found: found.update(label_map=["road"])),
        ("datumaro", "dataset_meta.json", lambda found: found["segmentation_colors"].extend([[1, 1, 1]] * 9)),
        ("fiftyone", "metadata.json", lambda found: found["info"]["default_mask_targets"].update({"300": "road"})),
        ("fiftyone", "samples.json", lambda found: found["samples"].append(3)),
    ],
)
def test_an_export_that_is_built_otherwise_is_one_line(run: Path, export: Export, kind: str, file: str, spoil: Spoil) -> None:  # noqa: F811
    folder = export(kind)
    found = json.loads((folder / file).read_text())
    spoil(found)
    (folder / file).write_text(json.dumps(found))
    said = taken(run, folder, kind, code=2)
    assert str(folder) in said and len(said.strip().splitlines()) == 1, said


@pytest.mark.parametrize(("kind", "file"), [("coco", "annotations/instances_default.json"), ("fiftyone", "samples.json")])
def test_a_list_in_place_of_an_export_is_one_line(run: Path, export: Export, kind: str, file: str) -> None:  # noqa: F811
    folder = export(kind)
    (folder / file).write_text("[1]")
    assert len(taken(run, folder, kind, code=2).strip().splitlines()) == 1


def test_an_unknown_class_of_coco_is_told_once(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("coco")
    path = folder / "annotations/instances_default.json"
    path.write_text(path.read_text().replace('"bus"', '"coach"'))
    said = taken(run, folder, "coco", code=2)
    assert "class 'coach'; expected one of road" in said and said.count(str(path)) == 1


def test_a_task_without_an_image_and_a_label_map_in_another_encoding(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("label-studio")
    correct(folder, "label-studio", drawn(run))
    path = folder / "project-1.json"
    path.write_text(path.read_text().replace('"/data/upload/1/0a1b2c3d-b.png"', "7"))
    assert "expected Label Studio's export" in taken(run, folder, "label-studio", code=2)
    folder = export("cvat", to="cvat")
    (folder / "labelmap.txt").write_bytes((folder / "labelmap.txt").read_bytes() + b"caf\xe9:1,1,1::\n")
    assert "labelmap.txt" in taken(run, folder, "cvat", code=2)


def test_a_mask_lies_as_its_image_is_read(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("datumaro")
    turned = np.full(LARGE, 1, np.uint8)  # high, where the image is wide
    (folder / "masks/b.png").write_bytes(encode_png(turned))
    assert f"is {LARGE[1]}x{LARGE[0]}; expected" in taken(run, folder, "datumaro", code=2)


def two_sources(run: Path) -> None:  # noqa: F811
    """Let the run have two real sources whose files have the same names."""
    text = (run / "run.toml").read_text().replace('real = { layout = "plain", root = "data" }', "")
    text += "".join(f'[[real]]\nname = "{name}"\nlayout = "plain"\nroot = "{name}"\n' for name in ("x", "y"))
    (run / "run.toml").write_text(text)
    shutil.copytree(run / "data", run / "x")
    (run / "data").rename(run / "y")
    shard = run / "round-1/labels/shard-00000-of-00001"
    maps = {name: LabelStore(run / "round-1/labels").maps(name) for name in ("a", "b", "c", "d")}
    shutil.rmtree(shard)
    write_shard(shard, {f"{source}__{name}": maps[name] for source in ("x", "y") for name in maps})


def test_two_sources_with_files_of_the_same_names(run: Path, export: Export, tmp_path: Path) -> None:  # noqa: F811
    two_sources(run)
    folder = export("cvat")
    assert "0 corrected images" in taken(run, folder, "cvat")
    for name in ("x", "y"):
        code, said = selfsyn_here("labels", "show", run / name / "images/b.png", "--run", run, "--to", tmp_path / "b.png")
        assert code == 0, said
    code, said = selfsyn_here("labels", "show", "images/b.png", "--run", run)
    assert code == 2 and "may be 'x__b' or 'y__b'; expected one of these names" in said
    (run / "list.txt").write_text(f"{run}/y/images/c.png\n")
    only = export("coco", "--only", run / "list.txt", to="only")
    assert [path.name for path in (only / "images").iterdir()] == ["y__c.png"]


def test_masks_without_another_class_are_taken_when_a_person_has_looked(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("datumaro", "--kept-fraction", 0.5)
    assert "0 corrected images" in taken(run, folder, "datumaro") and not (run / "round-1/corrections").exists()
    assert "4 corrected images" in taken(run, folder, "datumaro", "--confirmed", "--dry-run")
    assert not (run / "round-1/corrections").exists()
    assert "4 corrected images" in taken(run, folder, "datumaro", "--confirmed")
    first = contents(run / "round-1/corrections")
    taken(run, folder, "datumaro", "--confirmed")
    assert contents(run / "round-1/corrections") == first


def test_a_later_round_has_the_corrections_of_earlier_ones_and_the_latest_counts(run: Path, export: Export) -> None:  # noqa: F811
    (run / "round-1").rename(run / "round-2")
    (run / "round-1").mkdir()
    folder, mask = export("cvat"), resize_label(read_ids(run / "round-2/labels/shard-00000-of-00001/labels/b.png"), size=LARGE)
    layout = Layout(run)
    for round_, kind in ((1, BUS), (2, SKY)):
        if round_ == 1:
            (run / "round-1/labels").symlink_to(run / "round-2/labels")
        correct(folder, "cvat", np.full_like(mask, kind))
        taken(run, folder, "cvat", "--round", round_)
        assert (corrected_store(layout, 2).read("b", portion=0.1) == kind).all()
    assert len(corrections_of(layout, 1)) == len(corrections_of(layout, 2)) == 1
    assert (corrected_store(layout, 1).read("b", portion=0.1) == BUS).all()


def test_an_export_holds_the_corrections_and_calls_them_certain(run: Path, export: Export) -> None:  # noqa: F811
    mask = drawn(run)
    folder = export("datumaro")
    correct(folder, "datumaro", mask)
    taken(run, folder, "datumaro")
    again = export("datumaro", "--kept-fraction", 0.1, "--min-confidence", 0.99, to="again")
    assert np.array_equal(read_ids(again / "masks/b.png"), np.where(mask == IGNORE, 0, mask + 1))
    assert np.array_equal(read_ids(again / "confidence/b.png"), np.where(mask == IGNORE, 0, 255))


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (
            lambda folder: (folder / "masks/b.png").rename(folder / "masks/bb.png"),
            "datumaro",
            "no image 'bb'; the nearest name is 'b'",
        ),
        (
            lambda folder: (folder / "masks/b.png").write_bytes(encode_png(np.zeros((3, 3), np.uint8))),
            "datumaro",
            "is 3x3; expected",
        ),
        (lambda folder: (folder / "masks/b.png").write_bytes(b"no"), "datumaro", "not a readable image"),
        (lambda folder: (folder / "dataset_meta.json").unlink(), "datumaro", "no label_map"),
        (lambda folder: (folder / "masks/b.png").unlink(), "coco", "expected COCO's annotations"),
        (lambda folder: None, "cvat", "labelmap.txt: no such file"),
        (lambda folder: None, "label-studio", "expected Label Studio's export"),
        (lambda folder: None, "cityscapes", "expected Cityscapes' folders"),
        (lambda folder: None, "fiftyone", "expected an export as LegacyFiftyOneDataset"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(run: Path, export: Export, spoil, kind: str, words: str) -> None:  # noqa: F811
    folder = export("datumaro")
    (folder / "selfsyn.json").unlink()
    spoil(folder)
    if kind in ("label-studio", "coco"):
        (folder / "dataset_meta.json").unlink()
    assert words in taken(run, folder, kind, code=2)
    assert not (run / "round-1/corrections/index.json").exists()


def test_a_class_that_the_run_lacks_is_refused(run: Path, export: Export) -> None:  # noqa: F811
    folder = export("cvat")
    text = (folder / "labelmap.txt").read_text().replace("bus:", "coach:")
    (folder / "labelmap.txt").write_text(text)
    assert "class 'coach'; expected one of road," in taken(run, folder, "cvat", code=2)


def test_training_counts_corrected_pixels_as_ground_truth(run: Path, export: Export) -> None:  # noqa: F811
    folder, mask = export("datumaro"), np.full(LARGE[::-1], BUS, np.uint8)
    correct(folder, "datumaro", mask)
    taken(run, folder, "datumaro")
    store = corrected_store(Layout(run), 1)
    border = Border((20, 20, 20, 20), LARGE)
    examples = [PseudoLabelledExample(Frame(n, run / f"data/images/{n}.png"), store, 0.5, border) for n in ("a", "b")]
    assert [example.certain for example in examples] == [False, True]
    assert (examples[1].read_label() == BUS).all() and (examples[0].read_label()[:5] == IGNORE).all()
    still = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0)
    for number, example in enumerate(examples):
        source = ExampleSource([example], Mix((1,)), 0, "test", LARGE, still)
        arrays = Pseudo(source, Labelled(source)).make(0, np.random.default_rng(0)).arrays
        assert (arrays["true"] == bool(number)).all()
        mixed = Pseudo(source, Labelled(source), class_mix=1.0).make(0, np.random.default_rng(0)).arrays
        assert number == 0 or mixed["true"].all()


def test_training_refuses_corrections_that_came_after_it(run: Path, export: Export) -> None:  # noqa: F811
    layout, config = open_run(run)
    (run / "gta").mkdir()
    phase = train_phase(config, stage=Stage("round-1"))
    before = sources.correction_digests(layout, 1)
    folder = export("datumaro")
    correct(folder, "datumaro", drawn(run))
    taken(run, folder, "datumaro")
    after = sources.correction_digests(layout, 1)
    assert before == {} and list(after) == ["corrections"]
    assert sources.correction_digests(layout, 2) == after
    config = replace(config, rounds=replace(config.rounds, adapted=True))
    assert sources.digests_of(layout, config, phase)["corrections"] == after["corrections"]
    mask = run / "round-1/corrections" / next(iter(corrections_of(layout, 1).values()))[1].mask
    mask.write_bytes(encode_png(np.zeros(LARGE[::-1], np.uint8)))
    with pytest.raises(InputError, match="not the mask that was imported"):
        corrected_store(layout, 1).read("b", portion=1.0)


def test_a_round_names_a_training_without_the_latest_corrections(run: Path, export: Export) -> None:  # noqa: F811
    layout, config = open_run(run)
    phase = train_phase(config, stage=Stage("round-1"))
    write_json(run / phase.folder / "manifest.json", {"inputs": {"real": "sha256:0"}})
    assert not corrected_since(layout, phase)
    folder = export("datumaro")
    correct(folder, "datumaro", drawn(run))
    taken(run, folder, "datumaro")
    assert corrected_since(layout, phase)
    write_json(run / phase.folder / "manifest.json", {"inputs": sources.correction_digests(layout, 1)})
    assert not corrected_since(layout, phase)


def test_a_training_that_began_before_the_first_correction_is_refused(run: Path) -> None:  # noqa: F811
    layout, config = open_run(run)
    training: Any = SimpleNamespace(folder="round-1/task", needs=(), name="train --round 1")
    begin(layout, config, training, sources={"real": "sha256:0"})
    begin(layout, config, training, sources={"real": "sha256:0"})
    for before, now in (({"real": "sha256:0"}, "corrections changed"), ({}, "real changed")):
        write_json(run / training.folder / STARTED, {"inputs": before})
        with pytest.raises(InputError, match=f"made from other inputs .*{now}.*; use --force"):
            begin(layout, config, training, sources={"real": "sha256:0", "corrections": "sha256:1"})


def test_show_names_the_origin_of_a_correction(run: Path, export: Export, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    folder = export("cvat")
    correct(folder, "cvat", drawn(run))
    taken(run, folder, "cvat")
    code, said = selfsyn_here("labels", "show", "b", "--run", run, "--to", run / "b.png")
    shown = capsys.readouterr().out
    assert code == 0, said
    assert f"with cvat from {folder}" in shown and re.search(r"bus +[\d.]+% +100\.0 %.* 100\.0%", shown)
    assert Image.open(run / "b.png").size == (3 * LARGE[0], LARGE[1])


def test_a_comparison_shares_no_training_with_corrections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked: list[Path] = []
    monkeypatch.setattr(sharing, "fingerprints", lambda entry: {"round-1/task": "equal"})
    monkeypatch.setattr(sharing, "made_from", lambda *_: True)
    monkeypatch.setattr(sharing, "_link", lambda source, target: linked.append(source))
    entry, phase = SimpleNamespace(root=tmp_path / "row", layout=None), SimpleNamespace(folder="round-1/task")
    others = [SimpleNamespace(root=tmp_path / name) for name in ("corrected", "plain")]
    for other, inputs in zip(others, ({"real": "1", "corrections": "2"}, {"real": "1"}), strict=True):
        write_json(other.root / "round-1/task/manifest.json", {"inputs": inputs})
    assert sharing.shared(entry, phase, others) == tmp_path / "plain/round-1/task" and len(linked) == 1
