"""The scores in words, losses as well as gains. Pure functions on the collected scores."""

from __future__ import annotations

from collections.abc import Sequence

from selfsyn.layout import ORACLE, SOURCE_ONLY
from selfsyn.report.collect import Score

VISIBLE = 0.0005  # a smaller difference does not show in three decimals


def stage_title(stage: str) -> str:
    """'round-1' -> 'round 1', 'oracle' -> 'oracle'."""
    return stage.replace("round-", "round ")


def fitted_again(round_: int) -> str:
    """A suffix that names the adapter fitted before round `round_`; empty for the first adapter."""
    return f", fitted again before round {round_}" if round_ else ""


def score_of(scores: Sequence[Score], stage: str) -> Score | None:
    """The score of `stage`, or None when it was not evaluated."""
    return next((score for score in scores if score.stage == stage), None)


def gap_closed(miou: float, *, source: float, oracle: float) -> float | None:
    """(miou - source) / (oracle - source): 1 is the oracle, negative is below source-only; None when there is no gap."""
    gap = oracle - source
    return (miou - source) / gap if gap >= VISIBLE else None


def signed(value: float) -> str:
    """0.1 -> '+0.100', -0.1 -> '−0.100' with a real minus sign."""
    return f"{value:+.3f}".replace("-", "−")


def percent(share: float) -> str:
    """0.4567 -> '46 %'."""
    return f"{share:.0%}".replace("%", " %").replace("-", "−")


def headline(scores: Sequence[Score]) -> str:
    """A sentence: source-only against the last round, and the oracle if evaluated."""
    rounds = [score for score in scores if score.stage not in (SOURCE_ONLY, ORACLE)]
    source = score_of(scores, SOURCE_ONLY)
    if not scores:
        return "No held-out scores: the run is not evaluated."
    if not rounds:
        return f"Held-out mIoU {scores[0].miou:.3f} {stage_title(scores[0].stage)}; no round is evaluated yet."
    last = rounds[-1]
    if source is None:
        return f"Held-out mIoU {last.miou:.3f} after {stage_title(last.stage)}; source-only is not evaluated."
    return _comparison(source, last, score_of(scores, ORACLE))


def caveat(scores: Sequence[Score]) -> str | None:
    """A sentence if an earlier round scored higher: the headline takes the last round, never the best."""
    rounds = [score for score in scores if score.stage not in (SOURCE_ONLY, ORACLE)]
    if not rounds:
        return None
    best = max(rounds, key=lambda score: score.miou)
    if best.miou - rounds[-1].miou < VISIBLE:
        return None
    return f"{stage_title(best.stage).capitalize()} scored {best.miou:.3f}; the headline uses the last round, not the best."


def _comparison(source: Score, last: Score, oracle: Score | None) -> str:
    change = last.miou - source.miou
    after = f"after {stage_title(last.stage)}"
    if abs(change) < VISIBLE:
        sentence = f"No change: held-out mIoU {source.miou:.3f} source-only, {last.miou:.3f} {after}"
    elif change < 0:
        sentence = f"Worse than no adaptation: held-out mIoU {source.miou:.3f} source-only → {last.miou:.3f} {after}"
    else:
        sentence = f"Held-out mIoU {source.miou:.3f} source-only → {last.miou:.3f} {after}"
    return sentence + (f" ({_against_oracle(source, last, oracle)})." if oracle is not None else f" ({signed(change)}).")


def _against_oracle(source: Score, last: Score, oracle: Score) -> str:
    bound = f"{oracle.miou:.3f} with real labels"
    share = gap_closed(last.miou, source=source.miou, oracle=oracle.miou)
    if share is None:
        return f"{bound}, no better than source-only: there is no gap to close"
    if share < 0:
        return f"{bound}: the gap widened by {percent(-share)}"
    return f"{bound}: {percent(share)} of the gap closed"
