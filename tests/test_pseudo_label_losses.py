"""Losses on labels that may be wrong: each against numbers worked out by hand, or against numpy pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from selfsyn.config import Rounds
from selfsyn.labels import IGNORE
from selfsyn.task.losses import segmentation_loss
from selfsyn.task.pseudo_label_losses import divergence, pseudo_label_loss, symmetric
from selfsyn.task.scores import Scores

NOT = -1e4  # the score of a class that has no share at all
RNG = np.random.default_rng(0)


def logits_of(*shares: dict[int, float]) -> torch.Tensor:
    """A row a pixel whose softmax has these shares."""
    made = torch.full((len(shares), 19), NOT, dtype=torch.float64)
    for row, pixel in zip(made, shares, strict=True):
        for train_id, share in pixel.items():
            row[train_id] = math.log(share)
    return made


def some(**wanted: Any) -> tuple[Scores, dict[str, Any]]:
    """Random scores of 2 images of 3 x 4 pixels and all else that the loss takes; a third of the pixels is ignored."""
    scores = Scores(*(torch.from_numpy(RNG.normal(0, 2, (2, 19, 3, 4))).requires_grad_() for _ in range(2)))
    label = RNG.integers(0, 19, (2, 3, 4))
    label[RNG.random(label.shape) < 0.3] = IGNORE
    maps = {
        "label": torch.from_numpy(label),
        "weight": torch.from_numpy(RNG.uniform(0.5, 2, label.shape)),
        "true": torch.from_numpy(RNG.random(label.shape) < 0.4),
    }
    return scores, {"maps": maps, "auxiliary": 0.4, "how": Rounds(**wanted)}


def shares_of(logits_BKHW: torch.Tensor) -> np.ndarray:
    """(P, 19) probabilities."""
    rows = logits_BKHW.detach().permute(0, 2, 3, 1).reshape(-1, 19).numpy()
    raised = np.exp(rows - rows.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def by_hand(scores: Scores, case: dict[str, Any]) -> float:
    """The loss, one pixel after another."""
    how, total = case["how"], 0.0
    flat = {name: case["maps"][name].flatten().numpy() for name in ("label", "weight", "true")}
    heads = [shares_of(head) for head in scores]
    for head, (own, other) in enumerate((heads, heads[::-1])):
        losses, doubts = [], []
        for p, q, label, weight, true in zip(own, other, *flat.values(), strict=True):
            doubt = 0.0 if true or not how.rectify else float((p * np.log(p / q)).sum())
            doubts.append(doubt)
            if label == IGNORE:
                continue
            loss = -np.log(p[label])
            if not true and how.symmetric_cross_entropy:
                loss = 0.1 * loss - (p * np.log(np.maximum(np.eye(19)[label], 1e-4))).sum()
            losses.append(np.exp(-doubt) * weight * loss)
        total += (1.0, case["auxiliary"])[head] * (np.sum(losses) / len(losses) + np.mean(doubts))
    return float(total)


def test_symmetric_by_hand() -> None:
    ce = torch.tensor([0.0, math.log(4)])  # shares of the label: 1 and 1/4
    assert symmetric(ce).tolist() == pytest.approx([0.0, 0.1 * math.log(4) + 0.75 * math.log(1e4)])


def test_divergence_by_hand() -> None:
    ours, theirs = logits_of({0: 0.5, 1: 0.5}, {3: 1.0}), logits_of({0: 0.75, 1: 0.25}, {3: 1.0})
    expected = [0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), 0.0]
    assert divergence(ours, theirs).tolist() == pytest.approx(expected)


CASES = [
    {},
    {"symmetric_cross_entropy": True},
    {"rectify": True},
    {"rectify": True, "symmetric_cross_entropy": True},
]


@pytest.mark.parametrize("wanted", CASES, ids=lambda wanted: "-".join(wanted) or "nothing")
def test_pseudo_label_loss_pixel_by_pixel(wanted: dict[str, Any]) -> None:
    scores, case = some(**wanted)
    loss = pseudo_label_loss(scores, **case)
    assert float(loss.detach()) == pytest.approx(by_hand(scores, case), rel=1e-9)
    loss.backward()
    assert all(head.grad is not None and bool(head.grad.isfinite().all()) and bool(head.grad.any()) for head in scores)


def test_rectified_by_hand() -> None:
    # One pixel: the heads say 4 : 1 and 1 : 1 of class 0, which the label names. Another is ignored: it adds D alone.
    main, auxiliary = logits_of({0: 0.8, 1: 0.2}, {0: 0.8, 1: 0.2}), logits_of({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5})
    picture = Scores(main.T[None, :, :, None], auxiliary.T[None, :, :, None])
    doubt = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    loss = pseudo_label_loss(
        picture,
        {
            "label": torch.tensor([[[0], [IGNORE]]]),
            "weight": torch.ones(1, 2, 1),
            "true": torch.zeros(1, 2, 1, dtype=torch.bool),
        },
        auxiliary=0.0,
        how=Rounds(rectify=True),
    )
    assert float(loss) == pytest.approx(math.exp(-doubt) * -math.log(0.8) + doubt)


def test_with_nothing_asked_for_it_is_the_ordinary_loss_to_the_bit() -> None:
    scores, case = some()
    ordinary = segmentation_loss(scores, case["maps"]["label"], weight_BHW=case["maps"]["weight"], auxiliary=0.4)
    assert torch.equal(pseudo_label_loss(scores, **case), ordinary)


def test_a_label_that_is_ignored_everywhere_costs_nothing() -> None:
    scores, case = some(symmetric_cross_entropy=True)
    case["maps"]["label"] = torch.full((2, 3, 4), IGNORE)
    assert float(pseudo_label_loss(scores, **case).detach()) == 0.0
