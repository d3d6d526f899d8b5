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

    Source-only and the oracle use no unlabelled images: only `start` = 'continue' changes one of them, see there.

    steps: updates of a round; 0 leaves the net as it was.
    learning_rate: peak learning rate of the encoder in a round. Unused in a round that starts with 'continue'.
    start: where a round begins.
      'warm': from the net of the round before (round 0: from the source-only net), with a new learning-rate schedule.
      'continue': from the net, the optimizer and the EMA of the stage before, on the learning-rate schedule of that stage.
      If all rounds continue, one schedule spans source-only and all rounds of real_share, and the source-only net ends at a
      learning rate above 0.
      'fresh': from the pretrained encoder (Zhang et al. 2021). A single 'fresh' applies from round 1 on; to start round 0
      fresh as well, write a list: ["fresh", ...].
    adapted: train the rounds on adapted synthetic images. false uses the images as they are, and fits no adapter.
    real_share: share of a batch that is pseudo-labelled real images, by round. Round 0 has 0. With 1, synthetic images only
    appear where ClassMix pastes them.
    kept_fraction: share of the pixels of each predicted class that count as pseudo-labels, in rounds 1, 2, ... The most
    confident pixels over all real images are kept; the others are ignored.
    classmix: share of the pseudo-labelled images onto which half the classes of a synthetic image are pasted (ClassMix).
    color_transfer: share of the synthetic images whose mean and covariance of RGB are set to those of a random real image
    (Pitié & Kokaram 2007). A pasted synthetic image takes those of the real image that it is pasted onto.
    adabn_share: AdaBN, as an interpolation of the batch-norm statistics at the end of a round: (1 - adabn_share) x those of
    training + adabn_share x those of the real images.
    rcs_temperature: as train.rcs_temperature, for pseudo-labelled images and the pixels that kept_fraction keeps.
    symmetric_cross_entropy: the loss on pseudo-labels is symmetric cross-entropy (Wang et al. 2019), not cross-entropy.
    mask_ratio: share of the blocks that are hidden in a second copy of each pseudo-labelled image. The net learns the same
    labels from the copy (MIC; Hoyer et al. 2023 use 0.7). 0 makes no copy.
    mask_block_size: side of a block, in pixels at the working size (Hoyer et al. 2023 use 64 at 1024 x 512).
    rectify: weigh a pixel's loss down where the main and the auxiliary head disagree (Zheng & Yang 2021).
    ema_pseudo_labels: add as many real images to a batch as it has synthetic ones. The EMA net labels them during training,
    and half the classes of a synthetic image are pasted onto each. The loss on these images is multiplied by the share of
    their pixels with a confidence of at least 0.968 (DACS, Tranheden et al. 2021). Not for [student].
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
