"""The street world: exact labels, the same bytes everywhere, layouts that read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from selfsyn.errors import InputError
from selfsyn.labels import CLASSES, IGNORE, LABEL_ID_OF_TRAIN_ID, PALETTE, TRAIN_ID_OF_LABEL_ID
from selfsyn.world import LOOKS, render
from selfsyn.world.solids import FAR, Skin, box, cylinder, distance, ellipsoid, surface, turned
from selfsyn.world.write import cityscapes_files, gta5_files, write_world

SIZE = (80, 56)
FRAMES = 30
Array = NDArray[np.uint8]


@pytest.fixture(scope="module")
def frames() -> Mapping[str, list[tuple[Array, Array]]]:
    return {look: [render(look, seed=3, index=i, size=SIZE) for i in range(FRAMES)] for look in LOOKS}


def test_frame_has_the_size_and_types_asked_for(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    for look in LOOKS:
        image, label = frames[look][0]
        assert image.shape == (56, 80, 3) and image.dtype == np.uint8
        assert label.shape == (56, 80) and label.dtype == np.uint8


def test_frame_depends_on_nothing_but_its_number(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    for look in LOOKS:
        for index in (7, 0):
            image, label = render(look, seed=3, index=index, size=SIZE)
            assert np.array_equal(image, frames[look][index][0]) and np.array_equal(label, frames[look][index][1])


def test_seed_index_and_look_each_change_the_frame(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    first = frames["engine"][0][1]
    assert not np.array_equal(first, frames["engine"][1][1])
    assert not np.array_equal(first, render("engine", seed=4, index=0, size=SIZE)[1])
    assert not np.array_equal(first, frames["camera"][0][1])


def test_every_class_occurs_and_nothing_else(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    for look in LOOKS:
        present = np.unique(np.concatenate([label.ravel() for _, label in frames[look]]))
        missing = set(range(len(CLASSES))) - set(present.tolist())
        assert not missing, f"{look} lacks {[CLASSES[i] for i in missing]}"
        assert set(present.tolist()) <= {*range(len(CLASSES)), IGNORE}


def test_labels_stand_where_things_stand_in_a_street(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    upright = [CLASSES.index(name) for name in ("building", "sky", "vegetation", "pole", "train", "truck", "bus", "car")]
    upright += [CLASSES.index(name) for name in ("traffic light", "traffic sign", "wall")]
    for look in LOOKS:
        labels = np.stack([label for _, label in frames[look]])
        assert np.isin(labels[:, :4], upright).mean() > 0.97
        assert np.isin(labels[:, -4:], (CLASSES.index("road"), IGNORE)).mean() > 0.6
        assert (labels[:, :16] != CLASSES.index("road")).all()


def test_sky_is_brighter_than_the_road(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    for look in LOOKS:
        images = np.stack([image for image, _ in frames[look]]).mean(-1)
        labels = np.stack([label for _, label in frames[look]])
        assert images[labels == CLASSES.index("sky")].mean() > images[labels == CLASSES.index("road")].mean() + 40


def test_looks_differ_in_colour_and_noise(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    def colourfulness(look: str) -> float:
        return float(np.mean([np.ptp(image.astype(int), axis=-1).mean() for image, _ in frames[look]]))

    def road_grain(look: str) -> float:
        steps = []
        for image, label in frames[look]:
            step = np.abs(np.diff(image.astype(int).mean(-1), axis=1))
            steps.append(np.median(step[(label == 0)[:, 1:] & (label == 0)[:, :-1]]))
        return float(np.mean(steps))

    assert colourfulness("engine") > 1.3 * colourfulness("camera")
    assert road_grain("camera") > 1.3 * road_grain("engine")


def test_the_cameras_contrast_is_that_of_photos(frames: Mapping[str, list[tuple[Array, Array]]]) -> None:
    # 367 photos of CamVid at 192x128: standard deviation of brightness 69 grey levels in the mean; 11 % of the pixels burnt out.
    def contrast(look: str) -> float:
        return float(np.mean([image.mean(-1).std() for image, _ in frames[look]]))

    def burnt_out(look: str) -> float:
        return float(np.mean([image.mean(-1) > 247 for image, _ in frames[look]]))

    assert 55 < contrast("camera") < 80 and contrast("engine") < 0.75 * contrast("camera")
    assert 0.05 < burnt_out("camera") < 0.2 and burnt_out("engine") < 0.02


def _single_ray(solid: object, origin: tuple[float, float, float], direction: tuple[float, float, float]) -> float:
    grid = [np.full((1, 1), d, np.float32) for d in direction]
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = distance(solid, origin=tuple(np.float32(o) for o in origin), direction=tuple(grid))  # type: ignore[arg-type]
    return float(reach[0, 0])


SKIN = Skin(0, lambda surface: (np.zeros((len(surface.x), 3), np.float32), np.zeros(len(surface.x), np.float32)))


@pytest.mark.parametrize(
    ("solid", "direction", "expected"),
    [
        (box((10, 0, 0), half=(2, 1, 1), skin=SKIN), (1, 0, 0), 8.0),
        (box((10, 0, 0), half=(2, 1, 1), skin=SKIN, frame=turned(np.pi / 2)), (1, 0, 0), 9.0),
        (box((10, 0, 0), half=(2, 1, 1), skin=SKIN), (1, 0.5, 0), float(FAR)),
        (box((-10, 0, 0), half=(2, 1, 1), skin=SKIN), (1, 0, 0), float(FAR)),
        (ellipsoid((10, 0, 0), half=(3, 1, 1), skin=SKIN), (1, 0, 0), 7.0),
        (cylinder((10, 0, 0), radius=2, length=6, skin=SKIN), (1, 0, 0), 8.0),
        (cylinder((10, 0, 0), radius=2, length=6, skin=SKIN, frame=turned(0, pitch=np.pi / 2)), (1, 0, 0), 7.0),
    ],
)
def test_rays_meet_solids_where_geometry_says(solid: object, direction: tuple[float, float, float], expected: float) -> None:
    assert _single_ray(solid, (0, 0, 0), direction) == pytest.approx(expected, rel=1e-5)


def test_surface_of_a_turned_box_knows_its_face() -> None:
    solid = box((10, 0, 0), half=(2, 1, 1), skin=SKIN, frame=turned(np.pi / 2))
    point = tuple(np.array([c], np.float32) for c in (9.0, 0.5, 0.25))
    place = surface(solid, point, footprint=np.ones(1, np.float32))  # type: ignore[arg-type]
    assert place.normal_N3[0] == pytest.approx([-1, 0, 0], abs=1e-6)
    assert (place.along[0], place.across[0], place.up[0]) == pytest.approx((0.5, 1.0, 0.25), abs=1e-6)


def _bytes_below(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_processes_do_not_change_a_byte(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_world(tmp_path / str(workers), look="camera", seed=5, first=2, count=6, size=(48, 32), workers=workers)
    one = _bytes_below(tmp_path / "1")
    assert len(one) == 12 and one == _bytes_below(tmp_path / "2")


@pytest.mark.parametrize("look", ["engine", "town"])
def test_synthetic_looks_are_written_as_gta5(tmp_path: Path, look: str) -> None:
    write_world(tmp_path, look=look, seed=5, first=10, count=1, size=(48, 32))
    assert sorted(_bytes_below(tmp_path)) == ["images/00011.png", "labels/00011.png"]
    image, label = render(look, seed=5, index=10, size=(48, 32))
    files = gta5_files(tmp_path, index=10)
    assert np.array_equal(np.asarray(Image.open(files.image)), image)
    stored = Image.open(files.label)
    assert stored.mode == "P"
    assert np.array_equal(TRAIN_ID_OF_LABEL_ID[np.asarray(stored)], label)
    colours = np.asarray(stored.convert("RGB"))
    assert np.array_equal(colours[label != IGNORE], PALETTE[label[label != IGNORE]])


def test_camera_is_written_as_cityscapes(tmp_path: Path) -> None:
    write_world(tmp_path, look="camera", seed=5, first=3, count=1, size=(48, 32), split="val")
    stem = "val/world/world_000005_000003"
    assert sorted(_bytes_below(tmp_path)) == [f"gtFine/{stem}_gtFine_labelIds.png", f"leftImg8bit/{stem}_leftImg8bit.png"]
    image, label = render("camera", seed=5, index=3, size=(48, 32))
    files = cityscapes_files(tmp_path, index=3, seed=5, split="val")
    assert np.array_equal(np.asarray(Image.open(files.image)), image)
    stored = Image.open(files.label)
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored), LABEL_ID_OF_TRAIN_ID[label])


def test_resume_keeps_what_is_there_and_completes_the_rest(tmp_path: Path) -> None:
    write_world(tmp_path, look="engine", seed=5, first=0, count=3, size=(32, 32))
    whole = _bytes_below(tmp_path)
    gta5_files(tmp_path, index=1).label.unlink()
    gta5_files(tmp_path, index=2).image.unlink()
    untouched = gta5_files(tmp_path, index=0).image
    untouched.write_bytes(b"mine")
    seen: list[int] = []
    write_world(tmp_path, look="engine", seed=5, first=0, count=3, size=(32, 32), on_frame=seen.append)
    assert untouched.read_bytes() == b"mine"
    assert {**_bytes_below(tmp_path), "images/00001.png": whole["images/00001.png"]} == whole
    assert seen == [0, 1, 2]


def test_wrong_input_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"look 'game' is not known; expected one of engine, camera, town"):
        render("game", seed=0, index=0, size=SIZE)
    with pytest.raises(InputError, match="at least 16x16"):
        render("engine", seed=0, index=0, size=(8, 32))
    with pytest.raises(InputError, match="five-digit names"):
        write_world(tmp_path, look="engine", seed=0, first=99_990, count=20, size=SIZE)
