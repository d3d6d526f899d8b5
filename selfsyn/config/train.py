"""[train]: how a task model learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from selfsyn.config.bounds import Below1, Count, Fraction, NonNegative, Positive, Share, Whole


@dataclass(frozen=True)
class Augment:
    """Random changes of a training image. Zero switches a change off (for zoom, 1 does).

    flip: mirror half of the images.
    zoom: largest factor of the random crop and resize.
    color_jitter: strength of the jitter of brightness, contrast, saturation and hue.
    blur: largest sigma, in pixels.
    noise: largest standard deviation, in grey levels.
    jpeg: JPEG compression with a quality from [100 - jpeg, 100].
    weather: largest strength of haze, rain or snow. No depth is needed: the distance is guessed from the image row. At 1,
    haze leaves a twentieth of the contrast at 100 m.
    """

    flip: bool = True
    zoom: Annotated[float, Meta(ge=1)] = 1.6
    color_jitter: Share = 0.4
    blur: NonNegative = 1.0
    noise: NonNegative = 8.0
    jpeg: Annotated[int, Meta(ge=0, le=99)] = 0
    weather: Share = 0.0


OF_VIT_IN_TRAIN: Final[Mapping[str, Any]] = {
    "layer_decay": 1.0,
    "activation_checkpointing": False,
}  # keys for a vit, and what other nets have


@dataclass(frozen=True)
class Train:
    """The optimizer, the losses and their weights. The lengths of the rounds are set in [rounds].

    steps: updates of the source-only training.
    oracle_steps: updates of the oracle. For a fair reference, the updates of the last round's net from the pretrained encoder
    on: with rounds that start 'warm' or 'continue', train.steps + the sum of rounds.steps.
    batch: labelled and pseudo-labelled images per update. Masked copies and images for ema_pseudo_labels come on top.
    learning_rate: peak learning rate of AdamW for the pretrained encoder. It rises linearly during the warm-up and falls to
    0 at the last step as (1 - t) ** 0.9.
    head_lr_factor: factor of the learning rate for decoder and heads.
    layer_decay: vit only: the learning rate of a block is layer_decay times that of the next block; 1 treats all alike.
    weight_decay: of AdamW. A vit has none on norms, biases, position embeddings and tokens.
    warmup_steps: updates of the warm-up, at the start of each schedule.
    clip_norm: largest norm of the gradient; 0 does not clip.
    precision: 'fp32', 'bf16' or 'auto': bf16 on GPUs with native bf16 and on CPUs with AMX, otherwise fp32. The manifest
    records the choice.
    activation_checkpointing: vit only: keep the activations at the borders of blocks only and compute the others again in the
    backward pass. A step takes longer and needs less memory.
    compile: use torch.compile.
    tensorboard: also write TensorBoard's event files.
    ema: decay of the EMA of the weights. The EMA weights are exported; with 0, the last weights.
    class_weight_power: the loss weight of a class is (its share of the pixels) ** -power, divided by the mean over all pixels,
    at most 10. With 0.5, a class with a hundredth of another's pixels weighs ten times as much; with 0, all weigh 1.
    rcs_temperature: temperature of rare-class sampling of synthetic frames. 0 turns it off. Above 0, a lower temperature
    draws frames with rare classes more often (Hoyer et al. 2022 use 0.01).
    checkpoint_every: updates between two checkpoints.
    """

    steps: Whole = 40_000
    oracle_steps: Whole = 70_000
    batch: Count = 4
    learning_rate: Positive = 1e-3
    head_lr_factor: Positive = 5.0
    layer_decay: Fraction = 1.0
    weight_decay: NonNegative = 0.01
    warmup_steps: Whole = 500
    clip_norm: NonNegative = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    tensorboard: bool = False
    ema: Below1 = 0.999
    class_weight_power: NonNegative = 0.5
    rcs_temperature: NonNegative = 0.0
    checkpoint_every: Count = 500
    augment: Augment = field(default_factory=Augment)
