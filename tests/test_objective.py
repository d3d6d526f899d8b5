"""The joint objective: which parts of a batch have which terms, and how they add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import Shown, TinyNet, tiny_config, tiny_fit, tiny_mixture

from selfsyn.compare.rivals import extra_terms
from selfsyn.config import Augment
from selfsyn.labels import IGNORE
from selfsyn.task.forward import Forward
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC
from selfsyn.task.objective import SURE, answer_of, losses_of, maps_of, seen_by, total_of, weights_of
from selfsyn.task.scores import Scores


def plain(net: TinyNet) -> Forward:
    return Forward(net, device=torch.device("cpu"), half=False)


STILL = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0)


def test_each_part_has_its_terms_and_bare_images_have_no_labels() -> None:
    config = tiny_config(rival="mrnet")
    batch = tiny_mixture(config).read_batch(3)
    assert batch.sizes == {SYNTHETIC: 2, PSEUDO: 2, BARE: 2} and len(batch.names) == 6
    assert bool((batch.parts[BARE]["label"] == IGNORE).all())
    losses = losses_of(seen_by(plain(TinyNet()), batch, config, weights_K=torch.ones(19), average=TinyNet()), config)
    assert set(losses) == {"loss_synthetic", "loss_pseudo"}


def test_the_total_by_hand() -> None:
    config = tiny_config()
    batch = tiny_mixture(config, real=1).read_batch(0)  # three labelled, one pseudo-labelled
    losses = {name: torch.tensor(10.0**power) for power, name in enumerate(("loss_synthetic", "loss_pseudo", "extra"))}
    weights = weights_of(batch) | {"extra": 0.3, "behind a closed gate": 2.0}
    assert float(total_of(losses, weights)) == pytest.approx(0.75 * 1 + 0.25 * 10 + 0.3 * 100)


def test_bare_images_have_the_labelled_ones_number_and_their_own_walk_and_changes() -> None:
    config = tiny_config(rival="mrnet")
    mixture = tiny_mixture(config, real=0)
    assert mixture.sizes == {SYNTHETIC: 4, BARE: 4}
    batch = mixture.read_batch(0)
    assert {int(name.removesuffix(".png")) for name in batch.names[4:]} <= {20, 21, 22}
    again = mixture.read_batch(0)
    assert torch.equal(batch.whole("image"), again.whole("image")) and batch.names == again.names


def test_a_term_on_bare_images_leaves_the_labelled_ones_as_they_were() -> None:
    without, with_ = tiny_config(), tiny_config(rival="mrnet")
    ours, theirs = tiny_mixture(without).read_batch(2), tiny_mixture(with_).read_batch(2)
    assert list(theirs.parts) == [*ours.parts, BARE]
    for part, arrays in ours.parts.items():
        assert all(torch.equal(array, theirs.parts[part][name]) for name, array in arrays.items())


def _parts_that_the_synthetic_images_change(**rounds: Any) -> set[str]:
    """Whose scores are others when the synthetic images beside them are darker: who is normalised together with them."""
    config = tiny_config(**rounds)
    torch.manual_seed(0)
    net, batch = TinyNet(), tiny_mixture(config).read_batch(0)
    synthetic = batch.parts[SYNTHETIC]
    darker = batch._replace(parts={**batch.parts, SYNTHETIC: {**synthetic, "image": synthetic["image"] // 3}})
    seen, beside_darker = (seen_by(plain(net), one, config, weights_K=torch.ones(19), average=net) for one in (batch, darker))
    return {part for part in seen if not torch.equal(seen[part].scores.main, beside_darker[part].scores.main)}


def test_bare_images_are_normalised_by_themselves_and_labelled_ones_together() -> None:
    assert _parts_that_the_synthetic_images_change(rival="mrnet") == {SYNTHETIC, PSEUDO}


def test_everything_at_once_learns(tmp_path: Path) -> None:
    config = tiny_config(steps=120, rival="mrnet", rectify=True, symmetric_cross_entropy=True)
    extra = extra_terms(config, purpose="train test", device=torch.device("cpu"))
    state = tiny_fit(tmp_path, config, tiny_mixture(config), extra=extra)
    assert state is not None
    first, last = state.history[0], state.history[-1]
    assert all(np.isfinite(list(row.values())).all() for row in state.history)
    assert last["loss_synthetic"] < 0.8 * first["loss_synthetic"] and last["loss_pseudo"] < 0.8 * first["loss_pseudo"]


def test_each_term_reaches_exactly_its_parameters() -> None:
    config = tiny_config(rival="mrnet")
    torch.manual_seed(0)
    net, extra = TinyNet(), extra_terms(config, purpose="train test", device=torch.device("cpu"))
    seen = seen_by(plain(net), tiny_mixture(config).read_batch(0), config, weights_K=torch.ones(19), average=net)
    scores = {part: one.scores for part, one in seen.items()}
    losses = losses_of(seen, config)
    for term in extra:
        losses |= term.losses(scores)

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
        "align_auxiliary": {"backbone", "auxiliary"},
    }
    net.zero_grad(set_to_none=True)
    for term in extra:
        term.update(scores, progress=0.0)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_masked_copies_are_of_the_same_images_and_keep_their_labels() -> None:
    config = tiny_config(augment=STILL, classmix=1.0, mask_ratio=0.5, mask_block_size=8)
    batch = tiny_mixture(config, class_mix=1.0).read_batch(1)
    assert batch.sizes == {SYNTHETIC: 2, PSEUDO: 2, MASKED: 2}
    assert batch.names[2:4] == batch.names[4:]
    colour = torch.tensor([1, 2, 3], dtype=torch.uint8)
    copies = batch.parts[MASKED]
    assert 0.2 < float((copies["image"] == colour).all(dim=-1).float().mean()) < 0.8
    for copy, label, name in zip(copies["image"], copies["label"], batch.names[4:], strict=True):
        original = Shown(int(name.removesuffix(".png"))).read()
        assert np.array_equal(label, original["label"])  # of hidden pixels too, and nothing laid over them
        shown = (copy != colour).any(dim=-1).numpy()
        assert np.array_equal(copy.numpy()[shown], original["image"][shown])
    losses = losses_of(seen_by(plain(TinyNet()), batch, config, weights_K=torch.ones(19), average=TinyNet()), config)
    assert set(losses) == {"loss_synthetic", "loss_pseudo", "loss_masked"}
    ones = {name: torch.tensor(value) for name, value in zip(losses, (1.0, 10.0, 100.0), strict=True)}
    assert float(total_of(ones, weights_of(batch))) == pytest.approx(0.5 * 1 + 0.5 * 10 + 0.5 * 100)


class Fixed(TinyNet):
    """A net that says class 5, of the left half for sure, and notes what it was shown."""

    def heads(self, image_BCHW: torch.Tensor) -> Scores:
        self.shown = image_BCHW
        logits = torch.zeros(len(image_BCHW), 19, *image_BCHW.shape[2:])
        logits[:, 5] = 3.0
        logits[:, 5, :, : image_BCHW.shape[3] // 2] = 12.0
        return Scores(logits, logits)


def test_the_average_labels_the_online_part_as_it_is_undisturbed() -> None:
    config = tiny_config(augment=Augment(zoom=1.0, flip=False, color_jitter=0.9, noise=20.0), ema_pseudo_labels=True)
    batch = tiny_mixture(config).read_batch(0)
    assert batch.sizes == {SYNTHETIC: 2, PSEUDO: 2, ONLINE: 2}
    online = batch.parts[ONLINE]
    for seen, name in zip(online["undisturbed"], batch.names[4:], strict=True):
        assert np.array_equal(seen, Shown(int(name.removesuffix(".png"))).read()["image"])  # as the file is
    assert not torch.equal(online["image"], online["undisturbed"])
    average, weights_K = Fixed(), torch.full((19,), 7.0)
    maps = {part: maps_of(batch.parts[part], config, weights_K=weights_K, average=average) for part in batch.parts}
    assert len(average.shown) == 2 and not average.training
    true = online["true"]
    assert 0 < float(true.float().mean()) < 1  # half the classes of a labelled frame lie over each
    assert torch.equal(maps[ONLINE]["label"], torch.where(true, online["label"].long(), 5))
    # The average is sure of half the pixels: that is what its labels weigh; true ones weigh as their class does.
    assert torch.equal(maps[ONLINE]["weight"], torch.where(true, 7.0, 0.5))
    assert maps[SYNTHETIC]["weight"].unique().tolist() == [7.0] and maps[PSEUDO]["weight"].unique().tolist() == [1.0]


def test_the_averages_answer_by_hand() -> None:
    config = tiny_config(ema_pseudo_labels=True)
    logits = torch.zeros(1, 19, 1, 1)
    logits[0, 4] = np.log(18 * 4)  # odds 4 : 1 together

    class Split(TinyNet):
        def heads(self, image_BCHW: torch.Tensor) -> Scores:
            return Scores(0.5 * logits, logits)  # half of the auxiliary scores count

    label, confidence = answer_of(Split(), torch.zeros(1, 3, 1, 1), config)
    assert label.item() == 4 and confidence.item() == pytest.approx(0.8) and confidence.item() < SURE


def test_online_parts_weigh_by_their_share_and_resume(tmp_path: Path) -> None:
    config = tiny_config(ema_pseudo_labels=True)
    mixture = tiny_mixture(config, real=1)  # 3 labelled, 1 pseudo-labelled, 3 online
    losses = {name: torch.tensor(value) for name, value in {"synthetic": 1.0, "pseudo": 10.0, "online": 100.0}.items()}
    named = {f"loss_{name}": value for name, value in losses.items()}
    assert float(total_of(named, weights_of(mixture.read_batch(0)))) == pytest.approx((3 * 1 + 1 * 10 + 3 * 100) / 7)
    whole = tiny_fit(tmp_path / "whole", config, mixture)
    tiny_fit(tmp_path / "twice", config, mixture, dies_at=3)
    tiny_fit(tmp_path / "twice", config, mixture)
    assert whole is not None and "loss_online" in whole.history[-1]
    names = ("weights.safetensors", "history.jsonl")
    assert [(tmp_path / "twice" / name).read_bytes() for name in names] == [(tmp_path / "whole" / n).read_bytes() for n in names]


def test_the_average_gets_no_gradient_and_the_labels_none() -> None:
    config = tiny_config(ema_pseudo_labels=True)
    net, average = TinyNet(), TinyNet()
    seen = seen_by(plain(net), tiny_mixture(config).read_batch(0), config, weights_K=torch.ones(19), average=average)
    total_of(losses_of(seen, config), weights_of(tiny_mixture(config).read_batch(0))).backward()
    assert all(parameter.grad is None for parameter in average.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())
