"""Every recipe for users' data, from end to end on miniature trees in the official layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_files import cityscapes_frame, gta5_frame, kitti_frame, photo, png, put, synthia_rand_frame, synthia_sf_frame
from tiny_run import SETTINGS, selfsyn_here

from selfsyn.config import load
from selfsyn.devices import has_amx
from selfsyn.flow import phases
from selfsyn.recipes import names

RNG = np.random.default_rng(0)
SHAPE = (48, 64)
NO_PRETRAINED = ("task.backbone=test_efficientnet", "task.weights=scratch", "task.output_stride=32")
NO_PRETRAINED_VIT = (
    "task.backbone=test_vit",
    "task.weights=scratch",
    "student.backbone=test_efficientnet",
    "student.weights=scratch",
    "student.output_stride=32",
    "teacher.flip=false",  # one view: a second one doubles the time of the export
)
NO_HOOD = "real.border=[1, 0, 1, 0]"  # the border of Cityscapes at 1024x512 is larger than these images
FRAMES = 5


def blocks(ids: list[int]) -> np.ndarray:
    """A label of the ids in blocks, so that every class is there."""
    rng = np.random.default_rng(len(ids))
    return np.kron(rng.choice(ids, (SHAPE[0] // 8, SHAPE[1] // 8)), np.ones((8, 8), int))


STREET = [7, 8, 11, 21, 23, 24, 26]  # Cityscapes ids


def gta5(root: Path) -> str:
    for number in range(1, FRAMES + 1):
        gta5_frame(root / "gta5", number, blocks(STREET), rng=RNG)
    return str(root / "gta5")


def synthia_rand(root: Path) -> str:
    for number in range(FRAMES):
        synthia_rand_frame(root / "synthia", number, blocks([1, 2, 3, 4, 6, 8, 10]), rng=RNG)
    return str(root / "synthia")


def synthia_sf(root: Path) -> str:
    for number in range(FRAMES):
        synthia_sf_frame(root / "sf", 1 + number % 2, number, blocks([1, 2, 3, 9, 11, 14, 20]), rng=RNG)
    return str(root / "sf")


def cityscapes(root: Path) -> tuple[str, ...]:
    for number in range(FRAMES):
        cityscapes_frame(root / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG, shape=SHAPE)
        cityscapes_frame(root / "city", "val", f"bonn_{number:06d}_000019", blocks(STREET), rng=RNG)
    return (f"real.root={root}/city", f"held_out.root={root}/city")


def kitti(root: Path) -> tuple[str, ...]:
    for number in range(FRAMES):
        kitti_frame(root / "semantics", number, blocks(STREET), rng=RNG)
        put(root / f"raw/2011_09_26/2011_09_26_drive_0009_sync/image_02/data/{number:010d}.png", photo(RNG, SHAPE))
    put(root / "raw/train_mapping.txt", b"2011_09_26 2011_09_26_drive_0005_sync 0000000059\n")
    return (f"real.root={root}/raw", f"held_out.root={root}/semantics")


def camvid(root: Path) -> tuple[str, ...]:
    for split in ("train", "val"):
        for number in range(FRAMES):
            put(root / f"camvid/{split}/images/{number}.png", photo(RNG, SHAPE))
            put(root / f"camvid/{split}/labels/{number}.png", png(blocks([0, 1, 3, 4, 5, 8]), colour=0))
    return (f"real.root={root}/camvid", f"held_out.root={root}/camvid")


def urbansyn(root: Path) -> str:
    for number in range(FRAMES):
        put(root / f"urbansyn/rgb/rgb_{number:04d}.png", photo(RNG, SHAPE))
        put(root / f"urbansyn/ss/ss_{number:04d}.png", png(blocks([0, 1, 2, 8, 10, 11, 13]), colour=0))
    return str(root / "urbansyn")


def carla(root: Path) -> str:
    for number in range(FRAMES):
        put(root / f"carla/images/{number:06d}.png", photo(RNG, SHAPE))
        put(root / f"carla/labels/{number:06d}.png", png(blocks([1, 4, 6, 7, 8, 9, 10, 13]), colour=0))
    return str(root / "carla")


RECIPES: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "gta5-cityscapes": lambda root: (f"synthetic.root={gta5(root)}", *cityscapes(root)),
    "synthia-cityscapes": lambda root: (f"synthetic.root={synthia_rand(root)}", *cityscapes(root)),
    "synthia-sf-cityscapes": lambda root: (f"synthetic.root={synthia_sf(root)}", *cityscapes(root)),
    "gta5-kitti": lambda root: (f"synthetic.root={gta5(root)}", *kitti(root)),
    "gta5+synthia-cityscapes": lambda root: (
        f"synthetic.0.root={gta5(root)}", f"synthetic.1.root={synthia_rand(root)}", *cityscapes(root),
    ),
    "urbansyn-cityscapes": lambda root: (f"synthetic.root={urbansyn(root)}", *cityscapes(root)),
    "gta5+synthia+urbansyn-cityscapes": lambda root: (
        f"synthetic.0.root={gta5(root)}", f"synthetic.1.root={synthia_rand(root)}", f"synthetic.2.root={urbansyn(root)}",
        *cityscapes(root),
    ),
    "world-camvid": camvid,
    "carla-camvid": lambda root: (f"synthetic.root={carla(root)}", *camvid(root)),
    "world+carla-camvid": lambda root: (f"synthetic.2.root={carla(root)}", "world.town=6", *camvid(root)),
}  # fmt: skip


# In test_recipes_vit.py, so that another process of the tests runs them.
RECIPES_OF_VIT: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "world-camvid-vit": camvid,
    "carla-camvid-vit": RECIPES["carla-camvid"],
    "gta5-cityscapes-vit": RECIPES["gta5-cityscapes"],
    "gta5-cityscapes-vit-small": RECIPES["gta5-cityscapes"],
}


def test_every_recipe_is_run_here_or_as_the_demo() -> None:
    assert {*RECIPES, *RECIPES_OF_VIT, "demo"} == set(names())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_from_end_to_end(recipe: str, tmp_path: Path) -> None:
    runs_from_end_to_end(recipe, RECIPES[recipe](tmp_path), tmp_path)


def runs_from_end_to_end(recipe: str, data: tuple[str, ...], tmp_path: Path) -> None:
    """Every phase to round 1. data: settings that name the data sets."""
    sizes = [setting for setting in SETTINGS if not setting.startswith("world.")]
    world = ("world.engine=6",) if recipe.startswith("world") else ()
    world += (NO_HOOD,) if recipe.split("-")[1] == "cityscapes" else ()
    untrained = NO_PRETRAINED_VIT if "-vit" in recipe else NO_PRETRAINED
    settings = [*sizes, *untrained, *data, *world, "train.oracle_steps=2"]
    run = tmp_path / "run"
    code, said = selfsyn_here("init", recipe, "--run", run, *[part for setting in settings for part in ("--set", setting)])
    assert code == 0, said
    config = load(run / "run.toml")
    for phase in phases(config, rounds=1):
        code, said = selfsyn_here(phase.verb, "--run", run, *phase.arguments)
        assert code == 0, (phase.name, said)
    metrics = json.loads((run / "round-1/evaluation/metrics.json").read_text())
    assert config.held_out is not None and metrics["protocol"] == config.held_out.protocol
    assert 0 <= metrics["miou"] <= 1
    assert (run / "report/index.html").stat().st_size > 10_000
    trained = json.loads((run / "round-1/task/manifest.json").read_text())["counts"]
    assert trained["pseudo_labelled"] == FRAMES
    assert trained["precision"] == ("bf16" if has_amx() else "fp32")
