"""Several sources in one role: names apart, shares kept, every frame visited."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from official_files import cityscapes_frame, gta5_frame, synthia_rand_frame

from selfsyn.config import Adapter, RunConfig, Source
from selfsyn.data import sources
from selfsyn.data.mixing import Mix, by_source, mix_of, prefix
from selfsyn.layout import Layout

RNG = np.random.default_rng(0)
TWO = (Source("gta5", "gta", share=3), Source("synthia-rand-cityscapes", "synthia", name="synthia", share=1))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    for number in range(1, 4):
        gta5_frame(tmp_path / "gta", number, np.full((12, 16), 7), rng=RNG)
        synthia_rand_frame(tmp_path / "synthia", number, np.full((12, 16), 3), rng=RNG)
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", None, rng=RNG)
    return RunConfig("test", 0, (64, 64), synthetic=TWO, real=(Source("cityscapes", "city"),), adapter=Adapter(crop=32))


def test_names_of_several_sources_carry_their_source(config: RunConfig, tmp_path: Path) -> None:
    frames, digest = sources.synthetic(Layout(tmp_path), config)
    assert [frame.name for frame in frames[:1] + frames[3:4]] == ["gta5__00001", "synthia__0000001"]
    assert all(frame.read_label().max() == 0 for frame in frames)
    alone, _ = sources.real(Layout(tmp_path), config)
    assert alone[0].name == "ulm_000001_000019"
    assert prefix(config.real[0], config.real) == ""
    gta5_frame(tmp_path / "gta", 9, np.full((12, 16), 7), rng=RNG)
    assert sources.synthetic(Layout(tmp_path), config)[1] != digest


def test_shares_are_kept_and_every_frame_has_its_turn(config: RunConfig, tmp_path: Path) -> None:
    frames, _ = sources.synthetic(Layout(tmp_path), config)
    mix = mix_of(frames, config.synthetic)
    assert mix == Mix((3, 3), (0.75, 0.25))
    drawn = Counter(mix.item(position, seed=0, purpose="test") for position in range(2000))
    assert set(drawn) == set(range(6))
    assert sum(drawn[i] for i in range(3)) / 2000 == pytest.approx(0.75, abs=0.04)
    assert [mix.item(i, seed=0, purpose="test") for i in range(9)] == [mix.item(i, seed=0, purpose="test") for i in range(9)]


def test_without_shares_an_epoch_visits_each_frame_once() -> None:
    mix = mix_of([], ())
    assert mix == Mix((0,))
    assert sorted(Mix((4, 2)).item(position, seed=1, purpose="x") for position in range(6)) == list(range(6))


def test_adapted_frames_are_put_back_in_the_order_of_their_sources(config: RunConfig, tmp_path: Path) -> None:
    frames, _ = sources.synthetic(Layout(tmp_path), config)
    turned = (TWO[1], TWO[0])
    assert [frame.name[:4] for frame in by_source(frames, turned)] == ["synt"] * 3 + ["gta5"] * 3
