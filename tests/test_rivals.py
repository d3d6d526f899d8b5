"""The rivals' loss terms: what each discriminator is told, whom a gradient reaches, and when the gate is open."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from tiny_training import tiny_config, tiny_fit, tiny_mixture

from selfsyn.compare.rivals import RIVALS, cycada, discriminators, extra_terms
from selfsyn.compare.rivals.discriminators import (
    ADAPTED,
    REAL,
    Discriminators,
    accuracy,
    judgement,
    patch_critic,
    pixel_critic,
    view,
)
from selfsyn.compare.rivals.mrnet import HeadAgreement, head_agreement
from selfsyn.compare.row import Row
from selfsyn.errors import InputError
from selfsyn.task.mixture import BARE, SYNTHETIC
from selfsyn.task.scores import Scores
from selfsyn.task.train import TrainState

ALL = {"main": 0.001, "auxiliary": 0.0002, "features": 0.1}
CPU = torch.device("cpu")


def scores(seed: int, *, favours: int = 0) -> Scores:
    """Scores of two images of 32 x 64 pixels that favour a class."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, 19, 32, 64, generator=generator) for _ in range(2)]
    for each in made:
        each[:, favours] += 3
    return Scores(*(each.requires_grad_() for each in made))


def aligned(*, gate: float = 0.0, learning_rate: float = 1e-4, **weights: float) -> Discriminators:
    torch.manual_seed(0)
    return Discriminators(weights, channels=4, device=CPU, gate=gate, learning_rate=learning_rate)


def test_judgement_by_hand() -> None:
    verdict = torch.tensor([math.log(3), 0.0])  # odds 3 : 1 for real, then even
    assert float(judgement(verdict, REAL)) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert float(judgement(verdict, ADAPTED)) == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_accuracy_by_hand() -> None:
    adapted, real = torch.tensor([-1.0, -2.0, 3.0, -0.1]), torch.tensor([1.0, -1.0])
    assert float(accuracy(adapted, real)) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_discriminators_have_the_papers_layers() -> None:
    patches, pixels = patch_critic(channels=64), pixel_critic(channels=64)
    widths = [(layer.in_channels, layer.out_channels) for layer in patches if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [(19, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    assert patches(torch.zeros(1, 19, 64, 96)).shape == (1, 1, 2, 3)
    widths = [(layer.in_channels, layer.out_channels) for layer in pixels if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [(19, 512), (512, 256), (256, 1)]


def test_views() -> None:
    seen = scores(0)
    assert torch.allclose(view(seen, "auxiliary").sum(dim=1), torch.ones(2, 32, 64))
    assert torch.allclose(view(seen, "main")[0, :, 3, 5], seen.main[0, :, 3, 5].softmax(0))
    assert torch.allclose(view(seen, "features")[1, :, 2, 3], seen.main[1, :, 16:24, 24:32].mean(dim=(1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("term", "reached"), [("main", (True, False)), ("auxiliary", (False, True)), ("features", (True, False))]
)
def test_the_nets_term_reaches_the_real_scores_of_its_head_alone(term: str, reached: tuple[bool, bool]) -> None:
    alignment, real = aligned(**{term: 1.0}), scores(1)
    losses = alignment.losses({BARE: real})
    assert list(losses) == [f"align_{term}"]
    losses[f"align_{term}"].backward()
    assert tuple(each.grad is not None and bool(each.grad.any()) for each in real) == reached
    assert all(parameter.grad is None for parameter in alignment.critics.parameters())


def test_the_discriminators_learn_and_give_the_scores_nothing() -> None:
    alignment, adapted, real = aligned(**ALL, learning_rate=1e-2), scores(0), scores(1, favours=5)
    before = {key: value.clone() for key, value in alignment.critics.state_dict().items()}
    terms = alignment.update({SYNTHETIC: adapted, BARE: real}, progress=0.0)
    assert set(terms) == {f"{kind}_{name}" for kind in ("critic", "accuracy") for name in ("main", "auxiliary", "features")}
    assert all(not torch.equal(before[key], value) for key, value in alignment.critics.state_dict().items())
    assert all(each.grad is None for each in (*adapted, *real))
    for _ in range(60):
        later = alignment.update({SYNTHETIC: adapted, BARE: real}, progress=0.0)
    assert later["critic_main"] < terms["critic_main"] and later["accuracy_main"] == 1.0


def test_a_discriminators_loss_is_half_of_both_domains() -> None:
    alignment, adapted, real = aligned(main=1.0), scores(0), scores(1)
    critic = alignment.critics["main"]
    with torch.no_grad():
        told = (judgement(critic(view(each, "main")), d) for each, d in ((adapted, ADAPTED), (real, REAL)))
        expected = float(sum(told)) / 2
    assert alignment.update({SYNTHETIC: adapted, BARE: real}, progress=0.0)["critic_main"] == pytest.approx(expected, rel=1e-5)


def test_their_rate_decays_to_zero() -> None:
    alignment = aligned(main=1.0, learning_rate=0.5)
    alignment.update({SYNTHETIC: scores(0), BARE: scores(1)}, progress=0.75)
    assert alignment.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 0.25**0.9)


def test_following_the_nets_term_makes_real_answers_look_adapted() -> None:
    alignment, adapted, real = aligned(main=1.0, learning_rate=1e-2), scores(0), scores(1, favours=5)
    for _ in range(60):
        alignment.update({SYNTHETIC: adapted, BARE: real}, progress=0.0)
    first = alignment.losses({BARE: real})["align_main"]
    first.backward()
    assert real.main.grad is not None
    nearer = Scores(real.main - 1000 * real.main.grad, real.auxiliary)
    assert float(alignment.losses({BARE: nearer})["align_main"].detach()) < float(first.detach()) - 0.1


def test_the_gate_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    alignment = aligned(features=0.1, gate=0.6)
    # Closed at first; open at a mean above 0.6, not at 0.6; after 100 updates the oldest no longer counts.
    right = [0.5, 0.75, 0.55, 0.8, *[0.6] * 96, 0.6, 0.4]
    seen: list[bool] = [alignment.pushes("features")]
    for value in right:
        monkeypatch.setattr(discriminators, "accuracy", lambda *_, value=value, **__: torch.tensor(value, dtype=torch.float64))
        alignment.update({SYNTHETIC: scores(0), BARE: scores(1)}, progress=0.0)
        seen.append(alignment.pushes("features"))
    means = [sum(lately) / len(lately) for lately in (right[max(0, n - 100) : n] for n in range(1, len(right) + 1))]
    assert seen == [False, *(mean > 0.6 for mean in means)]
    assert seen[:5] == [False, False, True, False, True]  # means 0.5, 0.625, 0.6, 0.65
    assert len(alignment.accuracies["features"]) == 100 and alignment.accuracies["features"][0] == 0.55
    assert list(alignment.losses({BARE: scores(1)})) == (["align_features"] if seen[-1] else [])


def test_a_closed_gate_leaves_the_net_alone_and_no_gate_is_always_open() -> None:
    assert aligned(main=1.0, gate=0.6).losses({BARE: scores(1)}) == {}
    assert list(aligned(main=1.0).losses({BARE: scores(1)})) == ["align_main"]


def test_a_checkpoint_holds_all_of_it() -> None:
    ours, theirs = aligned(**ALL, learning_rate=1e-2), aligned(**ALL, learning_rate=1e-2)
    for seed in range(3):
        ours.update({SYNTHETIC: scores(seed), BARE: scores(seed + 9)}, progress=0.1)
    buffer = io.BytesIO()
    torch.save(ours.state_dict(), buffer)
    buffer.seek(0)
    theirs.load_state_dict(torch.load(buffer, weights_only=True))
    outcomes = []
    for each in (ours, theirs):
        torch.manual_seed(3)
        outcomes.append(each.update({SYNTHETIC: scores(7), BARE: scores(8)}, progress=0.2))
    assert outcomes[0] == outcomes[1] and ours.accuracies == theirs.accuracies


def test_killed_and_resumed_equals_uninterrupted_with_extra_terms(tmp_path: Path) -> None:
    config = tiny_config(rival="mrnet")

    def fit(folder: Path, *, dies_at: int | None = None) -> TrainState | None:
        extra = extra_terms(config, purpose="train test", device=CPU)
        return tiny_fit(folder, config, tiny_mixture(config), dies_at=dies_at, extra=extra)

    whole = fit(tmp_path / "whole")
    assert fit(tmp_path / "twice", dies_at=5) is None
    assert fit(tmp_path / "twice") is not None
    for name in ("weights.safetensors", "history.jsonl"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert whole is not None and len(whole.extra) == 2
    assert {"loss_memory", "align_main", "critic_main", "accuracy_auxiliary"} <= set(whole.history[-1])


@pytest.mark.parametrize("row", RIVALS, ids=lambda row: row.name)
def test_the_terms_of_each_rival_have_a_weight_each(row: Row) -> None:
    config = tiny_config(rival=row.name)
    seen = {SYNTHETIC: scores(0), BARE: scores(1)}
    terms = extra_terms(config, purpose="train test", device=CPU)
    assert bool(terms) == (row.name != "adabn")
    for term in terms:
        term.update(seen, progress=0.0)
        assert term.losses(seen).keys() <= term.weights.keys()


def test_cycadas_term_counts_while_its_discriminator_is_right() -> None:
    (term,) = extra_terms(tiny_config(rival="cycada"), purpose="train test", device=CPU)
    assert isinstance(term, Discriminators) and term.gate == cycada.GATE
    assert term.losses({BARE: scores(1)}) == {} and term.weights == {"align_features": 0.1}


def test_a_method_that_is_no_rivals_is_refused() -> None:
    with pytest.raises(InputError, match="rival.method is 'dann'; expected one of adabn, cycada, .*, or '' for none"):
        extra_terms(tiny_config(rival="dann"), purpose="train test", device=CPU)


def test_head_agreement_by_hand() -> None:
    # main 4 : 1 and auxiliary 1 : 4; with half of the auxiliary scores both say 2 : 1.
    main, auxiliary = (torch.full((1, 19, 1, 1), -1e4, dtype=torch.float64) for _ in range(2))
    main[0, :2, 0, 0] = torch.tensor([0.8, 0.2]).log()
    auxiliary[0, :2, 0, 0] = torch.tensor([0.2, 0.8]).log()
    of_main = 2 / 3 * math.log(2 / 3 / 0.8) + 1 / 3 * math.log(1 / 3 / 0.2)
    of_auxiliary = 2 / 3 * math.log(2 / 3 / 0.2) + 1 / 3 * math.log(1 / 3 / 0.8)
    assert float(head_agreement(Scores(main, auxiliary), auxiliary=0.5)) == pytest.approx(of_main + of_auxiliary)
    assert float(head_agreement(Scores(main, main), auxiliary=0.0)) == pytest.approx(0.0, abs=1e-9)
    (loss,) = HeadAgreement(auxiliary=0.5).losses({BARE: Scores(main, auxiliary)}).values()
    assert float(loss) == pytest.approx(of_main + of_auxiliary)
