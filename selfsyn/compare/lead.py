"""How surely one row is ahead of another: a paired bootstrap over held-out frames and seeds (Efron & Tibshirani 1993, ch. 8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.compare.results import Line
from selfsyn.labels import Protocol
from selfsyn.randomness import generator
from selfsyn.verbs import HELD_OUT

DRAWS = 2000
BLOCK = 10  # consecutive frames that are drawn together, because neighbouring frames of a drive show the same street
LEAST = 10  # blocks, and frames: fewer say too little; where there are fewer than BLOCK * LEAST frames, blocks are shorter


@dataclass(frozen=True)
class Lead:
    """The difference in mIoU of two rows over the seeds that both have.

    probability: share of draws in which the first row is ahead; a tie counts half.  low, high: 2.5 % and 97.5 % of the draws.
    frames, seeds: how many were drawn from.
    """

    difference: float
    low: float
    high: float
    probability: float
    frames: int
    seeds: int

    @property
    def words(self) -> str:
        """'ahead: P 0.98' for tables; P > 0.99 and P < 0.01 beyond what the draws resolve."""
        if 0.01 <= self.probability <= 0.99:
            return f"ahead: P {self.probability:.2f}"
        return "ahead: P > 0.99" if self.probability > 0.5 else "ahead: P < 0.01"


def lead(line: Line, other: Line) -> Lead | None:
    """How far `line` is ahead of `other`. None without common seeds, if an evaluation of one lacks the counts of its frames, if
    the two rows were scored on other frames, or with fewer than LEAST frames.

    Each draw takes the seeds and blocks of frames with replacement, the same ones for both rows. Seeds with the same held-out
    frames take the same blocks.
    """
    pairs = _pairs(line, other)
    if not pairs or len(pairs) < len(line.mious.keys() & other.mious.keys()):
        return None
    weights: dict[tuple[str, int], NDArray[np.int64]] = {}
    differences = []
    for seed, (ours, theirs, digest) in pairs.items():
        same = digest, len(ours)
        if same not in weights:
            weights[same] = drawn(len(ours), seed=seed)
        protocol = line.entry.config.protocol
        differences.append(mious(ours, weights[same], protocol) - mious(theirs, weights[same], protocol))
    rng = generator(0, "seeds of a comparison")
    which = rng.integers(len(pairs), size=(DRAWS, len(pairs)))
    found = np.take_along_axis(np.stack(differences, axis=1), which, axis=1).mean(axis=1)
    low, high = np.quantile(found, (0.025, 0.975))
    ahead = np.mean(found > 0) + np.mean(found == 0) / 2
    point = float(np.mean([line.mious[seed] - other.mious[seed] for seed in pairs]))
    frames = min(len(ours) for ours, _, _ in pairs.values())
    return Lead(point, float(low), float(high), float(ahead), frames, len(pairs))


def drawn(frames: int, *, seed: int) -> NDArray[np.int64]:
    """(DRAWS, frames): how often each draw takes each frame, in blocks of consecutive frames around the end."""
    block = max(1, min(BLOCK, frames // LEAST))
    rng = generator(seed, "frames of a comparison")
    starts = rng.integers(frames, size=(DRAWS, -(-frames // block)))
    taken = (starts[..., None] + np.arange(block)) % frames
    taken = taken.reshape(DRAWS, -1)[:, :frames]
    weights = np.zeros((DRAWS, frames), np.int64)
    np.add.at(weights, (np.arange(DRAWS)[:, None], taken), 1)
    return weights


def mious(frames: NDArray[np.int64], weights: NDArray[np.int64], protocol: Protocol) -> NDArray[np.float64]:
    """(N, K, K) counts and (B, N) weights of frames -> (B,) mIoU as metrics.figures computes it; 0 where no class is present."""
    merged = np.eye(256)[protocol.merge][:, : len(protocol.names)]  # (K, P); no column for ignored ids
    counts = np.einsum("nij,ip,jq->npq", frames.astype(np.float64), merged, merged, optimize=True)
    counts[:, [name in protocol.ignored for name in protocol.names]] = 0
    sums = (weights.astype(np.float64) @ counts.reshape(len(counts), -1)).reshape(-1, *counts.shape[1:])
    true, predicted, hits = sums.sum(axis=2), sums.sum(axis=1), np.diagonal(sums, axis1=1, axis2=2)
    scored = (true > 0) & np.isin(protocol.names, protocol.scored)
    iou = hits / np.maximum(true + predicted - hits, 1)
    total: NDArray[np.float64] = (iou * scored).sum(axis=1) / np.maximum(scored.sum(axis=1), 1)
    return total


def _pairs(line: Line, other: Line) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64], str]]:
    """{seed: (N, K, K) counts of both rows by frame, the digest of the frames}."""
    theirs = {result.entry.seed: result for result in other.results}
    found = {}
    for result in line.results:
        one, two = result.frames, theirs[result.entry.seed].frames if result.entry.seed in theirs else None
        if one is None or two is None or len(one) < LEAST or list(one) != list(two):
            continue
        digest = str(result.manifest["inputs"].get(HELD_OUT, result.entry.seed))
        found[result.entry.seed] = np.stack(list(one.values())), np.stack(list(two.values())), digest
    return found
