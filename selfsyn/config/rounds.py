"""[rounds]: the schedule by round, and what a round learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from msgspec import Meta

from selfsyn.config.bounds import Below1, Count, Fraction, NonNegative, Positive, Share, Whole, require

V = TypeVar("V", int, float, str)
Start = Literal["warm", "fresh", "continue"]
Some = Meta(min_length=1)


@dataclass(frozen=True)
class Rounds:
    """The rounds. A value that may differ by round is one value or a list; a round beyond the list takes the last.

    Nothing here concerns the bounds (source-only, oracle): they never see a real image without its label.

    steps: updates of a round; 0 leaves the net as it was.
    learning_rate: of the encoder at the start of a round.
    start: where a round begins. 'warm': from the net of the round before, with a new schedule. 'continue': from the net,
    optimizer and EMA of the round before, on one schedule of train.learning_rate that ends with the last round that
    real_share names; the source-only training of such a run does not reach the end of that schedule. 'fresh': rounds 1, 2,
    ... from the pretrained encoder (Zhang et al. 2021). In a list, 'fresh' may also stand for round 0.
    adapted: train the rounds on adapted synthetic images; false uses the images as they are, and fits no adapter.
    real_share: share of a batch that is pseudo-labelled real images. Round 0 has 0; 1 leaves the synthetic images out.
    portion: share of each class's pixels that count as pseudo-labels, most confident first, in rounds 1, 2, ...
    class_mix: share of the pseudo-labelled images onto which half the classes of an adapted image are pasted (ClassMix).
    colours: share of the synthetic images that take the mean and covariance of RGB of a random real image (Pitié & Kokaram
    2007). A pasted synthetic image takes those of the image below it.
    statistics: AdaBN. Share of the batch-norm statistics that is re-estimated on real images at the end of a round.
    rare: as train.rcs_temperature, for pseudo-labelled images and the pseudo-labels that count.
    robust: the loss on pseudo-labels: '' is cross-entropy, 'symmetric' is symmetric cross-entropy (Wang et al. 2019).
    mask: share of the blocks that are hidden in a second copy of each pseudo-labelled image; the net learns the same labels
    from it (MIC, Hoyer et al. 2023: 0.7). 0 makes no copy.
    mask_block: side of a block, in pixels (Hoyer et al. 2023: 64 at 1024 x 512).
    rectify: weigh a pixel's loss down where the two heads differ (Zheng & Yang 2021).
    online: add as many real images to a batch as there are labelled ones. The EMA net labels them during training, and half
    the classes of an adapted image are pasted onto each. Their loss weighs as much as the share of pixels of which the EMA
    net is sure (DACS, Tranheden et al. 2021).
    """

    steps: Whole | Annotated[tuple[Whole, ...], Some] = 10_000
    learning_rate: Positive | Annotated[tuple[Positive, ...], Some] = 5e-4
    start: Start | Annotated[tuple[Start, ...], Some] = "warm"
    adapted: bool = True
    real_share: Annotated[tuple[Share, ...], Some] = (0.0, 0.25, 0.5)
    kept_fraction: Annotated[tuple[Fraction, ...], Some] = (0.5, 0.65)
    classmix: Share = 0.0
    color_transfer: Share = 0.0
    adabn_share: Share = 0.0
    rcs_temperature: NonNegative = 0.0
    symmetric_cross_entropy: bool = False
    mask_ratio: Below1 = 0.0
    mask_block_size: Count = 64
    rectify: bool = False
    ema_pseudo_labels: bool = False

    def __post_init__(self) -> None:
        first = self.real_share[0]
        require(first == 0, f"rounds.real_share starts with {first}; expected 0: round 0 has no teacher")

    def steps_of(self, round_: int) -> int:
        """The updates of round `round_`; 0 leaves the net as it was."""
        return _by_round(self.steps, round_)

    def learning_rate_of(self, round_: int) -> float:
        """The encoder's learning rate at the start of round `round_`."""
        return _by_round(self.learning_rate, round_)

    def start_of(self, round_: int) -> Start:
        """Where round `round_` begins. A single 'fresh' concerns rounds 1, 2, ... only."""
        if round_ == 0 and self.start == "fresh":
            return "warm"
        return _by_round(self.start, round_)  # type: ignore[return-value,type-var]

    def real_share_of(self, round_: int) -> float:
        """The share of real images in a batch of round `round_`."""
        return _by_round(self.real_share, round_)

    def kept_fraction_of(self, round_: int) -> float:
        """The share of each class's pseudo-labels that counts in round `round_` (1, 2, ...)."""
        return _by_round(self.kept_fraction, round_ - 1)


def _by_round(value: V | tuple[V, ...], round_: int) -> V:
    return value[min(round_, len(value) - 1)] if isinstance(value, tuple) else value
