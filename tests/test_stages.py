"""What each stage learns from: the bounds never see a real image without its label, the rounds as many as they ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import cityscapes_frame, gta5_frame
from tiny_store import write_shard
from tiny_training import TinyNet, tiny_config, tiny_fit, tiny_mixture
from torch import nn

from selfsyn.config import Adapter, Augment, Rival, Rounds, RunConfig, Source, Task, Train
from selfsyn.corrections import CorrectedStore
from selfsyn.data import sources
from selfsyn.data.frames import Frame
from selfsyn.errors import InputError
from selfsyn.files import write_atomic
from selfsyn.flow import train_phase
from selfsyn.images import encode_png
from selfsyn.layout import Layout
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage
from selfsyn.task import stages
from selfsyn.task.examples import PseudoLabelledExample, class_counts
from selfsyn.task.mixture import Mixture
from selfsyn.task.objective import maps_of
from selfsyn.task.stages import first_net, mixture_of, sizes_of, sources_of, statistics_images

RNG = np.random.default_rng(0)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Three frames in each role, at the size of the nets."""
    for number in range(1, 4):
        gta5_frame(tmp_path / "gta", number, np.full((32, 48), 7), rng=RNG)
        cityscapes_frame(tmp_path / "city", "train", f"ulm_{number:06d}_000019", np.full((32, 48), 7), rng=RNG)
        halves = np.repeat(np.arange(48)[None] // 24, 32, axis=0).astype(np.uint8)
        for folder, picture in (("images", np.zeros((32, 48, 3), np.uint8)), ("labels", halves)):
            write_atomic(tmp_path / f"adapted/{folder}/{number:05d}.png", encode_png(picture))
    return RunConfig(
        "test",
        0,
        (48, 32),
        synthetic=(Source("gta5", "gta"),),
        real=(Source("cityscapes", "city"),),
        adapter=Adapter(crop=32),
        train=Train(batch=4),
        rival=Rival("adaptsegnet"),
    )


def made(root: Path, config: RunConfig, *, stage: Stage) -> tuple[Mixture, dict[str, str]]:
    drawn, digests = sources_of(Layout(root), config, stage=stage)
    return mixture_of(drawn, Layout(root), config, stage=stage, folder=root, workers=1), digests


@pytest.mark.parametrize("stage", [SOURCE_ONLY, ORACLE])
def test_bounds_never_see_bare_real_images(config: RunConfig, tmp_path: Path, stage: Stage) -> None:
    drawn, _ = sources_of(Layout(tmp_path), config, stage=stage)
    assert sizes_of(config, stage=stage) == {"synthetic": 4} and drawn.unlabelled is None


def test_round_0_sees_as_many_as_adapted_ones_and_their_listing_is_an_input(config: RunConfig, tmp_path: Path) -> None:
    mixture, inputs = made(tmp_path, config, stage=Stage("round-0"))
    batch = mixture.read_batch(0)
    assert batch.sizes == {"synthetic": 4, "bare": 4}
    assert list(inputs) == ["real"]
    assert all("leftImg8bit" in name for name in batch.names[4:])
    assert bool((batch.parts["bare"]["label"] == 255).all()) and not bool(batch.parts["bare"]["true"].any())


def test_without_a_term_that_needs_them_there_are_none(config: RunConfig, tmp_path: Path) -> None:
    mixture, inputs = made(tmp_path, replace(config, rival=Rival()), stage=Stage("round-0"))
    assert mixture.sizes == {"synthetic": 4} and inputs == {}


@pytest.mark.parametrize("stage", [SOURCE_ONLY, ORACLE, round_stage(0), round_stage(1)], ids=str)
@pytest.mark.parametrize("rival", ["", "mrnet"])
@pytest.mark.parametrize(
    "rounds",
    [
        Rounds(),
        Rounds(adapted=False),
        Rounds(color_transfer=0.5),
        Rounds(adabn_share=0.5),
        Rounds(ema_pseudo_labels=True),
    ],
)
def test_a_stages_data_sets_are_known_without_its_frames(
    config: RunConfig, tmp_path: Path, rounds: Rounds, rival: str, stage: Stage
) -> None:
    names = [f"ulm_{number:06d}_000019" for number in range(1, 4)]
    maps = np.full((32, 48), 5, np.uint8), np.full((32, 48), 200, np.uint8)
    write_shard(tmp_path / "round-1/labels/shard-00000-of-00001", dict.fromkeys(names, maps))
    asked = replace(config, rounds=rounds, rival=Rival(rival))
    _, inputs = sources_of(Layout(tmp_path), asked, stage=stage)
    _, more = statistics_images(Layout(tmp_path), asked, stage=stage)
    known = sources.of_phase(asked, train_phase(asked, stage=stage))
    assert sources.digests(Layout(tmp_path), asked, known) == {**inputs, **more}


@pytest.mark.parametrize(
    ("start", "stage", "before"),
    [
        ("warm", "round-0", "source-only"),
        ("warm", "round-1", "round-0"),
        ("warm", "round-2", "round-1"),
        ("fresh", "round-0", "source-only"),
        ("fresh", "round-1", None),
        ("fresh", "round-2", None),
        ("fresh", "source-only", None),
        ("warm", "oracle", None),
    ],
)
def test_where_a_stages_net_comes_from(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, stage: str, before: str | None
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(stages, "load_weights", lambda net, path: loaded.append(path.parent.parent.name))
    built: list[bool] = []
    monkeypatch.setattr(stages, "build", lambda task, *, pretrained, classes: built.append(pretrained) or nn.Identity())
    first_net(Layout(tmp_path), replace(config, rounds=Rounds(start=start)), stage=Stage(stage))
    assert (loaded, built) == ([before] if before else [], [before is None])


def test_a_fresh_round_0_starts_with_the_net_of_source_only(config: RunConfig, tmp_path: Path) -> None:
    task = Task(backbone="efficientnet_lite0", weights="scratch", decoder_channels=8)
    fresh = replace(config, task=task, rounds=Rounds(start=("fresh",)))
    first, second, later = (
        first_net(Layout(tmp_path), fresh, stage=stage).state_dict() for stage in (SOURCE_ONLY, round_stage(0), round_stage(1))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], later[name]) for name in first)


def test_a_whole_share_of_real_images_leaves_synthetic_and_bare_ones_out(config: RunConfig, tmp_path: Path) -> None:
    names = [f"ulm_{number:06d}_000019" for number in range(1, 4)]
    maps = np.full((32, 48), 5, np.uint8), np.full((32, 48), 200, np.uint8)
    write_shard(tmp_path / "round-1/labels/shard-00000-of-00001", dict.fromkeys(names, maps))
    whole = replace(config, rounds=replace(config.rounds, real_share=(0.0, 1.0)))
    batch = made(tmp_path, whole, stage=Stage("round-1"))[0].read_batch(0)
    assert batch.sizes == {"pseudo": 4}  # or discriminators would wait for images that never come
    half = replace(config, rounds=replace(config.rounds, real_share=(0.0, 0.5)))
    assert made(tmp_path, half, stage=Stage("round-1"))[0].read_batch(0).sizes == {"synthetic": 2, "pseudo": 2, "bare": 2}


def test_rounds_may_learn_from_synthetic_images_as_they_are(config: RunConfig, tmp_path: Path) -> None:
    adapted, _ = made(tmp_path, replace(config, rival=Rival()), stage=Stage("round-0"))
    plain, inputs = made(tmp_path, replace(config, rival=Rival(), rounds=Rounds(adapted=False)), stage=Stage("round-0"))
    assert [Path(example.name).parts[-3] for example in (adapted.labelled[0], plain.labelled[0])] == ["adapted", "gta"]
    assert list(inputs) == ["synthetic"]


def test_only_the_portion_that_counts_is_learned_and_counted(tmp_path: Path) -> None:
    confidence = np.arange(100, 200, dtype=np.uint8).reshape(10, 10)
    write_shard(tmp_path / "shard-00000-of-00001", {"a": (np.zeros((10, 10), np.uint8), confidence)})
    write_atomic(tmp_path / "a.png", encode_png(np.zeros((10, 10, 3), np.uint8)))
    example = PseudoLabelledExample(Frame("a", tmp_path / "a.png"), CorrectedStore(tmp_path, {}), 0.25)
    label = example.read()["label"]
    assert (label == 0).sum() == 25 and (label[confidence >= 175] == 0).all() and (label[confidence < 175] == 255).all()
    assert np.array_equal(label, example.read_label())
    counts = class_counts([example], file=tmp_path / "counts.npy", workers=1)
    assert (counts[0, 0], counts[0, 19]) == (25, 75)


def test_a_sources_border_is_taken_out_of_its_labels_alone(tmp_path: Path, config: RunConfig) -> None:
    names = [f"ulm_{number:06d}_000019" for number in range(1, 4)]
    maps = np.full((32, 48), 5, np.uint8), np.full((32, 48), 200, np.uint8)
    write_shard(tmp_path / "round-1/labels/shard-00000-of-00001", dict.fromkeys(names, maps))
    bordered = replace(config, real=(replace(config.real[0], border=(2, 0, 8, 4)),), rounds=Rounds(ema_pseudo_labels=True))
    still = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0)
    bordered = replace(bordered, train=replace(bordered.train, augment=still))
    drawn, _ = sources_of(Layout(tmp_path), bordered, stage=Stage("round-1"))
    assert drawn.pseudo is not None and drawn.unlabelled is not None
    pseudo, bare = drawn.pseudo.examples[0], drawn.unlabelled.examples[0].read()
    inside = np.zeros((32, 48), dtype=bool)
    inside[2:24, 4:] = True
    read = pseudo.read()
    assert read["image"].shape == (32, 48, 3) and ((read["label"] == 5) == inside).all()
    assert np.array_equal(pseudo.read_label(), read["label"])
    assert np.array_equal(bare["open"] == 1, inside) and (bare["label"] == 255).all()
    online = made(tmp_path, bordered, stage=Stage("round-1"))[0].read_batch(0).parts["online"]
    label = maps_of(online, bordered, weights_K=torch.ones(19), average=TinyNet())["label"]
    outside = ~torch.from_numpy(inside) & ~online["true"]
    assert bool((label[outside] == 255).all()) and bool(outside.any())
    assert bool((label[:, inside] < 19).all())


def test_a_stage_that_continues_has_the_net_the_average_and_the_optimizer_of_the_one_before(tmp_path: Path) -> None:
    config = tiny_config(steps=3)
    first = tiny_fit(tmp_path / "first", config, tiny_mixture(config))
    second = tiny_fit(tmp_path / "second", config, tiny_mixture(config), before=tmp_path / "first", dies_at=0)
    assert first is not None and second is None
    state = tiny_fit(tmp_path / "second", config, tiny_mixture(config), before=tmp_path / "first")
    alone = tiny_fit(tmp_path / "alone", config, tiny_mixture(config))
    assert state is not None and alone is not None and state.step == 3
    steps = [{int(entry["step"]) for entry in one.optimizer.state.values()} for one in (first, state, alone)]
    assert steps == [{3}, {6}, {3}]
    assert int(state.average.n_averaged) == 6
    with pytest.raises(InputError, match="missing/checkpoint.pt: not found"):
        tiny_fit(tmp_path / "third", config, tiny_mixture(config), before=tmp_path / "missing")
