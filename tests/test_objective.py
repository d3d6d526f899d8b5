"""The joint objective: which parts of a batch have which terms, and how they add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import Shown, TinyNet, tiny_config, tiny_fit, tiny_mixture

from selfsyn.config import Align, Augment
from selfsyn.labels import IGNORE
from selfsyn.task.alignment import Alignment
from selfsyn.task.mixture import BARE, MASKED, PSEUDO, SYNTHETIC, Mask
from selfsyn.task.objective import losses_of, seen_by, total_of

STILL = Augment(flip=False, zoom=1.0, colour=0.0, blur=0.0, noise=0.0)


def test_each_part_has_its_terms_and_bare_images_have_no_labels() -> None:
    config = tiny_config(memory=0.1)
    batch = tiny_mixture(config).read_batch(3)
    assert batch.parts == {SYNTHETIC: 2, PSEUDO: 2, BARE: 2} and len(batch.names) == 6
    assert bool((batch.labels[4:] == IGNORE).all())
    losses = losses_of(seen_by(TinyNet(), batch, config, weights_K=torch.ones(19)), config)
    assert set(losses) == {"loss_synthetic", "loss_pseudo", "loss_memory"}


def test_the_total_by_hand() -> None:
    config = tiny_config(memory=0.1, align=Align(main=0.01, auxiliary=0.002, features=0.3))
    batch = tiny_mixture(config, real=1).read_batch(0)  # three labelled, one pseudo-labelled
    names = ("loss_synthetic", "loss_pseudo", "loss_memory", "align_main", "align_auxiliary", "align_features")
    losses = {name: torch.tensor(10.0**power) for power, name in enumerate(names)}
    expected = 0.75 * 1 + 0.25 * 10 + 0.1 * 100 + 0.01 * 1000 + 0.002 * 10_000 + 0.3 * 100_000
    assert float(total_of(losses, batch, config)) == pytest.approx(expected)


def test_bare_images_have_the_labelled_ones_number_and_their_own_walk_and_changes() -> None:
    config = tiny_config(memory=0.1)
    mixture = tiny_mixture(config, bare=[Shown(number) for number in range(5)], real=0)
    assert mixture.parts == {SYNTHETIC: 4, BARE: 4}
    batch = mixture.read_batch(0)
    assert sorted(batch.names[4:]) != sorted(batch.names[:4]) or not np.array_equal(batch.images[:4], batch.images[4:])
    again = mixture.read_batch(0)
    assert torch.equal(batch.images, again.images) and batch.names == again.names


def test_a_term_on_bare_images_leaves_the_labelled_ones_as_they_were() -> None:
    without, with_ = tiny_config(), tiny_config(memory=0.1)
    ours, theirs = tiny_mixture(without).read_batch(2), tiny_mixture(with_).read_batch(2)
    assert torch.equal(ours.images, theirs.images[:4]) and torch.equal(ours.labels, theirs.labels[:4])


def test_everything_at_once_learns(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"rectify": True, "confidence": True, "robust": "symmetric", "memory": 0.1}
    config = tiny_config(steps=120, align=Align(main=0.001, auxiliary=0.0002, features=0.01, channels=4), **wanted)
    state = tiny_fit(tmp_path, config, tiny_mixture(config))
    assert state is not None
    first, last = state.history[0], state.history[-1]
    assert all(np.isfinite(list(row.values())).all() for row in state.history)
    assert last["loss_synthetic"] < 0.8 * first["loss_synthetic"] and last["loss_pseudo"] < 0.8 * first["loss_pseudo"]


def test_each_term_reaches_exactly_its_parameters() -> None:
    config = tiny_config(memory=0.1, align=Align(main=1.0, channels=4))
    torch.manual_seed(0)
    net, alignment = TinyNet(), Alignment(config.rounds.align, device=torch.device("cpu"))
    seen = seen_by(net, tiny_mixture(config).read_batch(0), config, weights_K=torch.ones(19))
    losses = {**losses_of(seen, config), **alignment.fooling(seen[BARE].scores)}

    def reached(name: str) -> set[str]:
        net.zero_grad(set_to_none=True)
        losses[name].backward(retain_graph=True)
        return {key.split(".")[0] for key, parameter in net.named_parameters() if parameter.grad is not None}

    everything = {"backbone", "main", "auxiliary"}
    assert {name: reached(name) for name in losses} == {
        "loss_synthetic": everything,
        "loss_pseudo": everything,
        "loss_memory": everything,
        "align_main": {"backbone", "main"},
    }
    net.zero_grad(set_to_none=True)
    alignment.learn(seen[SYNTHETIC].scores, seen[BARE].scores, progress=0.0)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_masked_copies_are_of_the_same_images_and_keep_their_labels() -> None:
    config = tiny_config(augment=STILL, class_mix=1.0)
    mixture = tiny_mixture(config, mask=Mask(share=0.5, block=8, colour=(3, 4, 5)), class_mix=1.0)
    batch = mixture.read_batch(1)
    assert batch.parts == {SYNTHETIC: 2, PSEUDO: 2, MASKED: 2}
    assert batch.names[2:4] == batch.names[4:]
    hidden = (batch.images[4:] == torch.tensor([3, 4, 5], dtype=torch.uint8)).all(dim=-1)
    assert 0.2 < float(hidden.float().mean()) < 0.8
    for copy, label, name in zip(batch.images[4:], batch.labels[4:], batch.names[4:], strict=True):
        image, whole = Shown(int(name.removesuffix(".png"))).read()
        assert np.array_equal(label, whole)  # of hidden pixels too, and nothing laid over them
        shown = (copy != torch.tensor([3, 4, 5], dtype=torch.uint8)).any(dim=-1).numpy()
        assert np.array_equal(copy.numpy()[shown], image[shown])
    losses = losses_of(seen_by(TinyNet(), batch, config, weights_K=torch.ones(19)), config)
    assert set(losses) == {"loss_synthetic", "loss_pseudo", "loss_masked"}
    ones = {name: torch.tensor(value) for name, value in zip(losses, (1.0, 10.0, 100.0), strict=True)}
    assert float(total_of(ones, batch, config)) == pytest.approx(0.5 * 1 + 0.5 * 10 + 0.5 * 100)
