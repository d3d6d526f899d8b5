"""Colours of one image given to another: mean and covariance are those of the other, and the map is the one that moves least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import cityscapes_frame, gta5_frame
from tiny_training import tiny_config, tiny_mixture

from selfsyn.compare.levers import NO_AUGMENT
from selfsyn.config import Adapter, Rounds, RunConfig, Source, Train
from selfsyn.data.color_transfer import Colours, colours_of, stacked, unstacked, with_colours
from selfsyn.data.frames import Frame, listing
from selfsyn.errors import InputError
from selfsyn.layout import Layout
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage
from selfsyn.task.examples import colours_of_frames
from selfsyn.task.makers import Labelled
from selfsyn.task.stages import mixture_of, sources_of

RNG = np.random.default_rng(0)


def picture(*, mean: float, spread: float) -> np.ndarray:
    """(40, 60, 3) far from black and white, its channels not independent."""
    values = RNG.normal(mean, spread, (40, 60, 3))
    values[..., 1] = (values[..., 0] + values[..., 1]) / 2
    return np.clip(values, 0, 255).astype(np.uint8)


def test_an_image_takes_mean_and_covariance_of_another() -> None:
    wanted = colours_of(picture(mean=150, spread=12))
    found = colours_of(with_colours(picture(mean=90, spread=25), wanted))
    assert found.mean == pytest.approx(wanted.mean, abs=0.003)  # levels are rounded to 1/255
    assert found.covariance == pytest.approx(wanted.covariance, abs=2e-4)


def test_its_own_colours_change_nothing() -> None:
    image = picture(mean=120, spread=20)
    assert np.abs(with_colours(image, colours_of(image)).astype(int) - image).max() <= 1


def test_between_independent_channels_each_is_scaled_by_the_ratio_of_deviations() -> None:
    image = picture(mean=128, spread=15)
    own = colours_of(image)
    wanted = Colours(own.mean + 0.1, 4 * own.covariance)  # of all maps with this covariance, the least one doubles distances
    moved = with_colours(image, wanted).astype(float) / 255
    expected = own.mean + 0.1 + 2 * (image / 255 - own.mean)
    assert moved == pytest.approx(np.clip(expected, 0, 1), abs=0.003)


def test_an_image_of_one_colour_stays_finite_and_takes_the_mean() -> None:
    wanted = colours_of(picture(mean=100, spread=20))
    moved = with_colours(np.full((20, 20, 3), 200, np.uint8), wanted)
    assert moved.reshape(-1, 3).mean(axis=0) / 255 == pytest.approx(wanted.mean, abs=0.003)
    assert moved.std() < 10  # three channels, each of one value


def test_colours_come_back_from_their_rows() -> None:
    many = [colours_of(picture(mean=mean, spread=10)) for mean in (80, 120)]
    for one, again in zip(many, unstacked(stacked(many)), strict=True):
        assert np.array_equal(one.mean, again.mean) and np.array_equal(one.covariance, again.covariance)


def test_as_many_labelled_images_as_asked_for_take_a_real_ones_colours_and_real_ones_none() -> None:
    config = tiny_config(augment=NO_AUGMENT)
    plain = tiny_mixture(config)
    dark = Colours(np.full(3, 0.1), 1e-4 * np.eye(3))
    coloured = tiny_mixture(config, colours=[dark], recoloured=0.5)
    before, after = ([mixture.read_batch(step) for step in range(60)] for mixture in (plain, coloured))
    means = np.concatenate([batch.whole("image")[:2].flatten(1).float().mean(1).numpy() for batch in after]) / 255
    assert np.mean(np.abs(means - 0.1) < 0.02) == pytest.approx(0.5, abs=0.12)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.parts["pseudo"]["image"], other.parts["pseudo"]["image"])
        assert torch.equal(one.whole("label"), other.whole("label"))
        assert one.names == other.names


def test_what_is_laid_over_a_real_image_takes_that_images_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[np.ndarray, Colours]] = []
    monkeypatch.setattr(
        "selfsyn.task.makers.with_colours", lambda image, colours: given.append((image, colours)) or np.full_like(image, 7)
    )
    config = tiny_config(augment=NO_AUGMENT)
    bright = Colours(np.full(3, 0.9), 1e-4 * np.eye(3))
    mixed = tiny_mixture(config, class_mix=1.0, colours=[bright], recoloured=1.0).read_batch(0).parts["pseudo"]
    below = tiny_mixture(config).read_batch(0).parts["pseudo"]["image"].numpy()
    assert len(given) == 2  # one for each of the batch's real images
    for (_, colours), image in zip(given, below, strict=True):
        assert colours.mean == pytest.approx(colours_of(image).mean) and colours.mean[0] < 0.8
    cut, image = mixed["true"].numpy(), mixed["image"].numpy()
    assert cut.any() and not cut.all()
    assert (image[cut] == 7).all() and (image[~cut] == below[~cut]).all()


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Three synthetic and three real frames."""
    for number in range(1, 4):
        gta5_frame(tmp_path / "gta", number, np.full((32, 48), 7), rng=RNG)
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", np.full((32, 48), 7), rng=RNG)
    return RunConfig(
        "test",
        0,
        (48, 32),
        synthetic=(Source("gta5", "gta"),),
        real=(Source("cityscapes", "city"),),
        adapter=Adapter(crop=32),
        train=Train(batch=4),
        rounds=Rounds(adapted=False, color_transfer=0.75),
    )


@pytest.mark.parametrize("stage", [SOURCE_ONLY, ORACLE])
def test_bounds_take_no_colours(config: RunConfig, tmp_path: Path, stage: Stage) -> None:
    drawn, inputs = sources_of(Layout(tmp_path), config, stage=stage)
    assert "real" not in inputs
    maker = mixture_of(drawn, Layout(tmp_path), config, stage=stage, folder=tmp_path, workers=1).makers["synthetic"]
    assert isinstance(maker, Labelled) and not maker.colours


def test_a_round_looks_at_every_real_image_once(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    drawn, inputs = sources_of(layout, config, stage=Stage("round-0"))
    assert list(inputs) == ["synthetic", "real"]  # another set of real images is another training
    first = mixture_of(drawn, layout, config, stage=Stage("round-0"), folder=tmp_path, workers=1).makers["synthetic"]
    assert isinstance(first, Labelled) and len(first.colours) == 3 and first.recoloured == 0.75
    monkeypatch.setattr("selfsyn.task.examples.colours_of_file", None)
    again = mixture_of(drawn, layout, config, stage=Stage("round-0"), folder=tmp_path, workers=1).makers["synthetic"]
    assert isinstance(again, Labelled) and np.array_equal(stacked(again.colours), stacked(first.colours))


def test_unreadable_real_images_are_left_out_and_all_of_them_refused(config: RunConfig, tmp_path: Path) -> None:
    frames = listing(tmp_path / "city", layout="cityscapes", split="train")
    frames[1].image.write_bytes(b"no picture")
    assert len(colours_of_frames(frames, size=(48, 32), file=tmp_path / "two.npy", workers=1)) == 2
    for frame in frames:
        frame.image.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"ulm_000001.*none of the 3 sampled real images"):
        colours_of_frames(frames, size=(48, 32), file=tmp_path / "none.npy", workers=1)
    assert not (tmp_path / "none.npy").exists()


def test_no_more_than_five_hundred_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Frame(str(number), tmp_path / f"{number}.png") for number in range(999)]
    seen: list[Path] = []
    one = Colours(np.zeros(3), np.eye(3))
    monkeypatch.setattr("selfsyn.task.examples.colours_of_file", lambda path, *, size: seen.append(path) or one)
    assert len(colours_of_frames(frames, size=(48, 32), file=tmp_path / "c.npy", workers=2)) == len(seen) == 500
