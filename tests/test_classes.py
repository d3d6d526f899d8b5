"""Classes as data: built-in lists, lists in run.toml, labels in colours, and who refuses whom."""

from __future__ import annotations

import ast
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_files import GREY, RGB, photo, png, put
from own_data import SEVEN, UNLABELLED, in_colours, many, recipe, rgb, scene, written
from PIL import Image
from tiny_run import make, selfsyn_here
from tiny_store import write_shard
from tiny_teacher import METADATA, model_of, write_teacher

from export import contract
from export.service import pictures
from selfsyn import config as configuration
from selfsyn import labels, recipes
from selfsyn.calibration import joint_places
from selfsyn.classes import (
    CAMVID_11,
    CITYSCAPES_19,
    CITYSCAPES_NAMES,
    IDD_LITE_7,
    LISTS,
    MOST,
    ClassList,
    colours_for,
    voc_colour,
)
from selfsyn.config import Classes, RunConfig
from selfsyn.data import frames
from selfsyn.errors import InputError
from selfsyn.images import encode_label_png, read_colours
from selfsyn.metrics import scores
from selfsyn.pseudo_labels import LabelStore

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
IGNORE = 255


def run_with(**tables: Any) -> RunConfig:
    """The demo with other tables."""
    return configuration.from_mapping({**recipes.read("demo"), **tables})


# ---- lists ----


def test_a_run_without_classes_has_those_of_cityscapes_and_its_file_does_not_name_them() -> None:
    config = run_with()
    assert config.class_list is CITYSCAPES_19 and len(config.class_list) == 19
    assert "classes" not in configuration.to_toml(config) and "scoring" not in configuration.to_toml(config)


@pytest.mark.parametrize("key", LISTS)
def test_built_in_lists_have_names_and_colours_that_differ_and_cover_cityscapes(key: str) -> None:
    some = LISTS[key]
    assert len(set(some.names)) == len(set(some.colours)) == len(some) and (0, 0, 0) not in some.colours
    assert all(some.covers(name) for name in CITYSCAPES_NAMES.values())
    assert all(target in (*some.names, "ignore") for target in some.merge.values())
    assert all(name not in some.merge for name in some.names)


def test_camvids_list_merges_the_19_as_its_protocol_does() -> None:
    merged = [CAMVID_11.train_id(name) for name in CITYSCAPES_19.names]
    assert merged == labels.protocol("camvid-11").merge.tolist()


def test_a_merge_over_a_built_in_list_takes_the_class_away_and_its_pixels_along() -> None:
    made = Classes(list="cityscapes-19", merge={"rider": "person"}).made()
    assert len(made) == 18 and "rider" not in made.names
    person = made.names.index("person")
    assert [made.train_id(name) for name in ("person", "rider", "bicyclist", "pedestrian")] == [person] * 4
    assert made.train_id("parking") == made.train_id("nobody knows this") == IGNORE
    assert made.covers("parking") and not made.covers("nobody knows this")
    assert made.colours[made.names.index("car")] == (0, 0, 142)


def test_ones_own_names_get_colours_of_built_in_classes_or_free_ones() -> None:
    colours = colours_for(("lane", "road", "parking", "sky"))
    assert colours[1] == (128, 64, 128) and colours[3] == (70, 130, 180)
    assert colours[0] == voc_colour(1) == (128, 0, 0) and colours[2] == voc_colour(2) == (0, 128, 0)
    most = colours_for([f"{number}" for number in range(MOST)])
    assert len(set(most)) == MOST and (0, 0, 0) not in most


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "expected either `list`, a built-in list, or `names`"),
        ({"list": "camvid-11", "names": ["a", "b"]}, "expected either `list`"),
        ({"list": "camvid-12"}, "class list 'camvid-12' is not known; expected one of cityscapes-19, camvid-11, idd-lite-7"),
        ({"names": ["a"]}, "1 classes; expected 2 to 254"),
        ({"names": [str(number) for number in range(255)]}, "255 classes; expected 2 to 254"),
        ({"names": ["a", "b", "a"]}, "a is there twice"),
        ({"names": ["a", "ignore"]}, "'ignore' is no name for a class"),
        ({"names": ["a", "b"], "colours": ["#000001"]}, "1 colours for 2 classes"),
        ({"names": ["a", "b"], "colours": ["#000001", "#000001"]}, "two classes have one colour"),
        ({"names": ["a", "b"], "colours": ["#000001", "#000000"]}, "a class is black"),
        ({"names": ["a", "b"], "colours": ["#000001", "red"]}, "'red' is not a colour; expected '#rrggbb'"),
        ({"names": ["a", "b"], "merge": {"c": "d"}}, "merge: c = 'd' is not a class; expected one of a, b, or ignore"),
        ({"list": "cityscapes-19", "merge": {"rider": "cyclist"}}, "rider = 'cyclist' is not a class"),
        ({"names": ["a", "b"], "color": ["#000001"]}, "unknown key classes.color; did you mean classes.colours?"),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_line(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        run_with(classes=table)
    said = str(error.value)
    assert message in said and said.startswith("run.toml: ") and "\n" not in said and "classes: classes:" not in said


def test_ids_and_colours_must_name_classes_of_the_run() -> None:
    own = {"names": ["a", "b"], "merge": {"c": "b"}}
    synthetic = {"layout": "plain", "root": "x"}
    no_score = {"held_out": {"layout": "plain", "root": "y", "ids": {"1": "a"}}}
    run_with(classes=own, synthetic=synthetic | {"ids": {"1": "a", "2": "c", "3": "ignore"}}, **no_score)
    with pytest.raises(InputError, match=r"run\.toml: ids of x: 1 = 'road' is not a class; expected one of a, b, or ignore"):
        run_with(classes=own, synthetic=synthetic | {"ids": {"1": "road"}}, **no_score)
    with pytest.raises(InputError, match=r"run\.toml: colours of x: #000001 = 'road' is not a class"):
        run_with(classes=own, synthetic=synthetic | {"colours": {"#000001": "road"}}, **no_score)
    with pytest.raises(InputError, match="ids and colours are both set"):
        run_with(classes=own, synthetic=synthetic | {"colours": {"#000001": "a"}, "ids": {"1": "a"}}, **no_score)


def test_a_run_file_with_classes_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = recipe(tmp_path / "mine.toml", tmp_path / "data", SEVEN)
    config = configuration.from_mapping(recipes.read(str(path)))
    (tmp_path / "run.toml").write_text(configuration.to_toml(config))
    again = configuration.load(tmp_path / "run.toml")
    assert again == config and again.class_list.names == tuple(SEVEN) and again.class_list.hexes == tuple(SEVEN.values())
    assert again.held_out is not None and again.held_out.protocol == "every-class"
    assert "classes.merge: {} -> {'grass': 'green'}" in configuration.difference(
        config,
        replace(config, classes=replace(config.classes, merge={"grass": "green"})),  # type: ignore[type-var]
    )


# ---- labels ----


def test_labels_in_colours_give_the_train_ids(tmp_path: Path) -> None:
    in_colours(tmp_path, SEVEN, frames=1)
    classes = ClassList("own", tuple(SEVEN), tuple(map(rgb, SEVEN.values())))
    table = {colour: name for name, colour in SEVEN.items()} | {UNLABELLED: "ignore", "#010203": "sky"}
    (frame,) = frames.labelled(tmp_path, layout="plain", colours=table, classes=classes)
    wanted = scene(np.random.default_rng(0), 7)
    assert np.array_equal(frame.read_label(), np.where(wanted == 7, IGNORE, wanted))


def test_two_colours_may_be_one_class_and_an_unknown_colour_is_named_with_its_place(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1, 2], pixels[2], pixels[3] = (1, 2, 3), (9, 9, 9), (255, 0, 1)
    path = put(tmp_path / "a.png", png(pixels, colour=RGB))
    found = read_colours(path, ids=(((0, 0, 0), 0), ((9, 9, 9), 0), ((1, 2, 3), 1), ((255, 0, 1), 254)))
    assert found[0, 0] == found[2, 5] == 0 and found[1, 2] == 1 and found[3, 0] == 254
    with pytest.raises(InputError, match=r"a\.png: the colour #ff0001 in 6 pixels, first row 3 column 0; expected colours"):
        read_colours(path, ids=(((0, 0, 0), 0), ((9, 9, 9), 0), ((1, 2, 3), 1)))


def test_a_label_in_colours_that_is_a_jpeg_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (128, 64, 128)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(InputError, match="saved as JPEG holds colours that nobody drew; expected PNG"):
        read_colours(tmp_path / "a.png", ids=(((128, 64, 128), 0),))


def test_a_layout_speaks_its_own_names_and_the_run_says_what_they_are(tmp_path: Path) -> None:
    ids = np.arange(12 * 16).reshape(12, 16) % 12
    put(tmp_path / "train/a.png", photo(RNG, ids.shape))
    put(tmp_path / "trainannot/a.png", png(ids, colour=GREY))
    (native,) = frames.labelled(tmp_path, layout="camvid", classes=CAMVID_11)
    assert np.array_equal(native.read_label(), np.where(ids == 11, IGNORE, ids))
    own = Classes(names=("sky", "rest"), merge=dict.fromkeys(("building", "tree"), "rest")).made()
    (two,) = frames.labelled(tmp_path, layout="camvid", classes=own)
    assert np.array_equal(two.read_label(), np.select([ids == 0, np.isin(ids, (1, 5))], [0, 1], IGNORE))


def test_counts_by_confidence_of_254_classes_take_the_room_of_the_pixels() -> None:
    label, guess, sure = (RNG.integers(0, 254, (3, 5), dtype=np.uint8) for _ in range(3))
    label[0, 0] = IGNORE
    places, pixels = joint_places(label, guess, sure, classes=254)
    assert len(places) <= 14 and pixels.sum() == 14
    assert {int(place) for place in places} == {
        (int(t) * 254 + int(p)) * 256 + int(c) for t, p, c in zip(label.flat, guess.flat, sure.flat, strict=True) if t != IGNORE
    }
    few, many_ = (joint_places(label % 3, guess % 3, sure, classes=count) for count in (3, 254))
    assert few[1].tolist() == many_[1].tolist()


def test_254_classes_fit_into_labels_and_their_colours(tmp_path: Path) -> None:
    names = tuple(f"{number}" for number in range(MOST))
    classes = ClassList("own", names, colours_for(names))
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    label[15, 14] = 0
    image = Image.open(io.BytesIO(encode_label_png(label, classes)))
    assert np.array_equal(np.asarray(image), label)
    assert np.array_equal(np.asarray(image.convert("RGB"))[15, 13], classes.colours[253])
    assert np.asarray(image.convert("RGB"))[15, 15].tolist() == [0, 0, 0]


# ---- the built-in world ----


@pytest.mark.parametrize("key", LISTS)
def test_the_world_says_its_classes_in_any_list_that_merges_them(key: str, tmp_path: Path) -> None:
    from selfsyn.world.write import write_world

    write_world(tmp_path, look="town", seed=0, first=0, count=2, size=(96, 64), split="train", workers=1)
    some = LISTS[key]
    for mine, plain in zip(
        frames.labelled(tmp_path, layout="gta5", classes=some), frames.labelled(tmp_path, layout="gta5"), strict=True
    ):
        table = np.array([*(some.train_id(name) for name in CITYSCAPES_19.names), *[IGNORE] * (256 - 19)])
        assert np.array_equal(mine.read_label(), table[plain.read_label()])
        assert (mine.read_label() != IGNORE).mean() > 0.95


# ---- protocols ----


def test_every_class_scores_each_class_of_the_run() -> None:
    own = Classes(names=("a", "b", "c")).made()
    found = scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 4]]), protocol=labels.protocol("every-class", own))
    assert found["protocol"] == "every-class" and found["class_iou"] == {"a": 3 / 4, "b": 2 / 3, "c": 1.0}


def test_a_protocol_of_ones_own_merges_leaves_out_and_ignores() -> None:
    held_out = {"layout": "plain", "root": "y", "ids": {"1": "car"}}
    names = ["road", "car", "bus", "tree"]
    scoring = {"merge": {"car": "vehicle", "bus": "vehicle"}, "left_out": ["tree"], "ignored": ["tree"]}
    config = run_with(classes={"names": names}, held_out=held_out, scoring=scoring, synthetic={"layout": "plain", "root": "x"})
    assert config.held_out is not None and config.held_out.protocol == "own"
    counts = np.array([[5, 1, 0, 2], [0, 3, 2, 0], [0, 1, 4, 0], [9, 9, 9, 9]])
    found = scores(counts, protocol=config.protocol)
    # road: 5 right, 3 missed, none wrongly. vehicle: 10 right, none missed, 1 wrongly. tree's 36 true pixels do not count.
    assert found["class_iou"] == {"road": 5 / 8, "vehicle": 10 / 11}
    assert found["pixel_accuracy"] == pytest.approx(15 / 18)
    assert configuration.from_mapping({"recipe": "x", **tomllib_of(config)}).protocol.scored == ("road", "vehicle")


def tomllib_of(config: RunConfig) -> dict[str, Any]:
    import tomllib

    return {key: value for key, value in tomllib.loads(configuration.to_toml(config)).items() if key != "recipe"}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"classes": {"names": ["a", "b"]}, "held_out.protocol": "cityscapes-19"}, "does not say how a, b of the run's classes"),
        (
            {"classes": {"list": "cityscapes-19", "merge": {"rider": "person"}}, "held_out.protocol": "cityscapes-19"},
            "scores rider, which no class of the run stands for",
        ),
        ({"held_out.protocol": "own"}, "protocol 'own' is not there; write it as \\[scoring\\]"),
        ({"scoring": {"left_out": ["lorry"]}}, "leaves out lorry; expected some of road"),
        ({"scoring": {"merge": {"buss": "vehicle"}}}, "scoring.merge: buss is no class of the run; expected some of road"),
        ({"scoring": {}, "held_out.protocol": "camvid-11"}, "\\[scoring\\] is set, but held_out.protocol names another"),
    ],
)
def test_a_protocol_that_does_not_fit_the_classes_is_refused(tables: dict[str, Any], message: str) -> None:
    values = {**recipes.read("demo"), **{key: value for key, value in tables.items() if "." not in key}}
    values["held_out"] = values["held_out"] | {key.split(".")[1]: value for key, value in tables.items() if "." in key}
    with pytest.raises(InputError, match=message):
        configuration.from_mapping(values)


def test_camvids_protocol_gives_the_same_for_its_own_classes_and_for_the_19(tmp_path: Path) -> None:
    ours, native = labels.protocol("camvid-11"), labels.protocol("camvid-11", CAMVID_11)
    assert native.names == ours.names and native.merge.tolist() == list(range(11))
    counts = RNG.integers(1, 100, (19, 19))
    merged = np.zeros((11, 11), np.int64)
    np.add.at(merged, (ours.merge[:, None], ours.merge[None, :]), counts)
    one, other = scores(counts, protocol=ours), scores(merged, protocol=native)
    assert one["class_iou"] == other["class_iou"] and one["pixel_accuracy"] == other["pixel_accuracy"]


# ---- teachers, stores ----


def seven_onnx() -> bytes:
    """A teacher of seven classes that says 6 everywhere."""
    from onnx import helper

    metadata = replace(METADATA, classes=tuple(SEVEN), colours=tuple(SEVEN.values()))
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["plane"], axes=[3], keepdims=0),
        helper.make_node("Mul", ["plane", "zero"], ["none"]),
        helper.make_node("Add", ["none", "six"], ["label"]),
        helper.make_node("Add", ["none", "sure"], ["confidence"]),
    ]
    values = {"zero": 0, "six": 6, "sure": 200}
    constants = {name: np.array(value, np.uint8) for name, value in values.items()}
    return model_of(nodes, constants, properties=contract.to_properties(metadata))


def test_metadata_say_the_colours_of_all_lists_but_the_first() -> None:
    assert f"{contract.PREFIX}colours" not in contract.to_properties(METADATA)
    assert METADATA.class_list is CITYSCAPES_19 and contract.colours_of(CITYSCAPES_19) == ()
    own = replace(METADATA, classes=tuple(SEVEN), colours=tuple(SEVEN.values()))
    read = contract.from_properties(contract.to_properties(own), name="x")
    assert read == own and read.class_list.hexes == tuple(SEVEN.values()) and read.lowest_confidence == 36
    for wrong in (replace(own, colours=("#000001",)), replace(own, classes=("road",), colours=())):
        with pytest.raises(InputError, match=r"x: not a selfsyn teacher .* classes with . colours"):
            contract.from_properties(contract.to_properties(wrong), name="x")


def test_a_teacher_of_other_classes_is_refused_by_name(tmp_path: Path) -> None:
    run = make(tmp_path / "run", "held_out=", "world.camera=0", "world.engine=0", "world.held_out=0", "real.layout=plain")
    put(run / "world/camera/images/a.png", photo(RNG, (48, 64)))
    write_teacher(run / "round-0/teacher", seven_onnx())
    code, said = selfsyn_here("pseudo-label", "--run", run, "--round", 1, "--device", "cpu")
    assert code == 2 and "Traceback" not in said
    assert "round-0/teacher: a teacher of 7 classes, of which number 1 is 'lane'; run.toml has 19, and there 'sidewalk'" in said


def test_a_store_of_other_classes_is_refused_by_name(tmp_path: Path) -> None:
    label = np.zeros((4, 4), np.uint8)
    write_shard(tmp_path, {"a": (label, label)})
    assert len(LabelStore(tmp_path).names) == 1
    own = ClassList("own", tuple(SEVEN), tuple(map(rgb, SEVEN.values())))
    with pytest.raises(InputError, match=r"has pseudo-labels of 19 classes, of which number 1 is 'sidewalk'; run\.toml has 7"):
        LabelStore(tmp_path, own)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"classes": list(IDD_LITE_7.names)}))
    with pytest.raises(InputError, match="has pseudo-labels of 7 classes, of which number 0 is 'drivable'"):
        LabelStore(tmp_path)


def test_a_run_whose_classes_change_says_which(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    (run / "sealed.toml").write_text((run / "run.toml").read_text())
    text = (run / "run.toml").read_text()
    text = text.replace('protocol = "cityscapes-19"', 'protocol = "camvid-11"')
    (run / "run.toml").write_text(text + '\n[classes]\nlist = "camvid-11"\n')
    code, said = selfsyn_here("world", "--run", run)
    assert code == 2 and "classes.list: None -> 'camvid-11'" in said


def test_the_service_shows_the_classes_of_the_teacher_itself() -> None:
    own = replace(METADATA, classes=tuple(SEVEN), colours=tuple(SEVEN.values())).class_list
    label = np.array([[0, 1], [1, 6]], np.uint8)
    shown = pictures.shares(label, np.full((2, 2), 255, np.uint8), classes=own)
    assert [(row["name"], row["colour"], row["share"]) for row in shown] == [
        ("lane", "#ffffff", 0.5), ("road", "#804080", 0.25), ("sky", "#4682b4", 0.25),
    ]  # fmt: skip
    answered = pictures.Answered(png(np.full((2, 2, 3), 90), colour=RGB), (2, 2), label, label, 1, "sha256:1", own)
    drawn = Image.open(io.BytesIO(pictures.label_view(answered)[0]))
    assert np.array_equal(np.asarray(drawn), label)
    assert np.asarray(drawn.convert("RGB")).reshape(-1, 3).tolist() == [[128, 64, 128], [255] * 3, [255] * 3, [70, 130, 180]]


# ---- the doctor ----


def test_doctor_says_what_only_the_run_and_only_the_data_have() -> None:
    from selfsyn.data.dataset import DataSet
    from selfsyn.doctor.facts import _of_classes

    kind: DataSet = frames.dataset("synthia-rand-cityscapes")
    counts = np.zeros(256, np.int64)
    counts[3] = 100
    (note,) = _of_classes("synthetic x", kind, counts)
    assert note.line == "synthetic x: lacks 3 of the 19 classes: terrain, truck, train" and not note.stops
    own = Classes(names=("road", "terrain"), merge={"sidewalk": "road"}).made()
    counts[[4, 2, 8, 0]] = 50, 40, 9, 1
    lacks, unknown = _of_classes("synthetic x", replace(kind, classes=own), counts)
    assert lacks.line == "synthetic x: lacks 1 of the 2 classes: terrain"
    assert "names that the run's classes do not cover: building (20.00 % of pixels), car (4.50 % of pixels)" in unknown.line
    assert "give them a class in classes.merge" in unknown.line


# ---- no number of classes in the code ----

SKIPPED = ("selfsyn/classes.py", "selfsyn/world/", "jobs/cluster/")
# Calls that would take Cityscapes' classes by default: the program always says which it means.
NEED_CLASSES = {
    "LabelStore", "build", "class_counts", "colourise", "dataset", "encode_label_png", "histogram", "label_counts", "labelled",
    "doubt", "corrected_store", "CorrectedStore", "write_mask",
    "no_counts", "of_label", "overlay", "pixels_by_class", "read_histogram", "Discriminators",
}  # fmt: skip


def sources() -> list[Path]:
    return [path for package in ("selfsyn", "export", "jobs") for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_number_of_classes_stands_in_the_code() -> None:
    found = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        if name.startswith(SKIPPED):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value == 19:
                found.append(f"{name}:{node.lineno}")
    assert found == ["selfsyn/report/scoreboard.py:72"]  # of the digest 'sha256:0123456789ab'


def test_the_program_says_which_classes_it_means() -> None:
    silent = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if name in NEED_CLASSES and "class" not in ast.unparse(node) and ast.unparse(node) != "build()":
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert silent == []


# ---- a whole run ----


@pytest.mark.parametrize("colours", [SEVEN, many(30)], ids=["7 classes", "30 classes"])
def test_recipes_of_ones_own_are_accepted(colours: dict[str, str], tmp_path: Path) -> None:
    written(tmp_path / "data", colours, frames=3)
    path = recipe(tmp_path / "mine.toml", tmp_path / "data", colours)
    config = configuration.from_mapping(recipes.read(str(path)))
    (source,) = config.synthetic
    found = frames.labelled(tmp_path / "data/synthetic", layout="plain", colours=source.colours, classes=config.class_list)
    assert {int(k) for frame in found for k in np.unique(frame.read_label())} <= {*range(len(colours)), IGNORE}
