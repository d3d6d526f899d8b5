"""The scores in words, losses as well as gains. Pure functions on the collected scores."""

from __future__ import annotations

from collections.abc import Sequence

from selfsyn.report.collect import Score
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage

VISIBLE = 0.0005  # a smaller difference does not show in three decimals


def score_of(scores: Sequence[Score], stage: Stage) -> Score | None:
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
    rounds = [score for score in scores if not score.stage.is_bound]
    source = score_of(scores, SOURCE_ONLY)
    if not scores:
        return "No held-out scores: the run is not evaluated."
    if not rounds:
        return f"Held-out mIoU {scores[0].miou:.3f} {scores[0].stage.title}; no round is evaluated yet."
    last = rounds[-1]
    if source is None:
        return f"Held-out mIoU {last.miou:.3f} after {last.stage.title}; source-only is not evaluated."
    return _comparison(source, last, score_of(scores, ORACLE))


def caveat(scores: Sequence[Score]) -> str | None:
    """A sentence if an earlier round scored higher: the headline takes the last round, never the best."""
    rounds = [score for score in scores if not score.stage.is_bound]
    if not rounds:
        return None
    best = max(rounds, key=lambda score: score.miou)
    if best.miou - rounds[-1].miou < VISIBLE:
        return None
    return f"{best.stage.title.capitalize()} scored {best.miou:.3f}; the headline uses the last round, not the best."


def _comparison(source: Score, last: Score, oracle: Score | None) -> str:
    change = last.miou - source.miou
    after = f"after {last.stage.title}"
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
