"""[task] and [student]: the segmentation nets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, get_args

from msgspec import Meta

from selfsyn.config.bounds import Below1, Count, NonNegative, Positive, Share, Whole, require
from selfsyn.errors import InputError
from selfsyn.files import expanded

Architecture = Literal["fcn", "deeplabv3plus", "segnet", "vit"]  # in the order of a comparison's table
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
WEIGHTS = ("download", "package", "scratch")  # anything else is a file

OF_VIT: Final = {"input_scale": 1.0, "trainable_blocks": "all", "drop_path": 0.0}  # keys of a vit, and what other nets have


@dataclass(frozen=True)
class Task:
    """The segmentation net.

    architecture: the kind of net.
    backbone: timm name of the encoder.
    weights: where the encoder's weights come from. 'download' fetches the published ImageNet weights; 'package' uses the copy
    that an installed package carries (efficientnet_lite0 only); 'scratch' starts from random weights. Anything else is a
    .safetensors or .pth file; a relative path starts at the run folder.
    decoder_channels: width of the decoder, deeplabv3plus only.
    output_stride: of the encoder, deeplabv3plus only. 8 is slower and finer than 16, 32 faster and coarser.
    mean, std: of RGB in 0..1, as the encoder was trained.
    auxiliary_at_inference: logits of the exported net = main head + auxiliary_at_inference x auxiliary head. A vit has the
    auxiliary head only if this is above 0.
    input_scale: vit only: factor by which the net enlarges an image before it cuts it into patches.
    trainable_blocks: vit only: how many blocks of the encoder learn, counted from the last. 0 freezes the encoder, 'all' leaves
    nothing frozen. Frozen blocks cost a forward pass only.
    drop_path: vit only: the share of images that skip the last block in training (stochastic depth); earlier blocks less.
    """

    architecture: Architecture = "deeplabv3plus"
    backbone: str = "resnet50"
    weights: str = "download"
    decoder_channels: Count = 256
    output_stride: Literal[8, 16, 32] = 16
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    auxiliary_at_inference: NonNegative = 0.5
    input_scale: Annotated[float, Meta(ge=0.5, le=4)] = 1.0
    trainable_blocks: Whole | Literal["all"] = "all"
    drop_path: Below1 = 0.0

    section: ClassVar[str] = "task"  # of run.toml, for messages

    def __post_init__(self) -> None:
        if self.architecture != "vit":
            wrong = [name for name, value in OF_VIT.items() if getattr(self, name) != value]
            require(not wrong, f"{self.section}.{' and '.join(wrong)} is for architecture 'vit' only; remove it")

    @property
    def words(self) -> str:
        """The net in words, for a page."""
        return f"{self.architecture} on {self.backbone} (weights: {self.weights})"

    @property
    def exact(self) -> str:
        """`words`, and what else tells two nets of one architecture apart."""
        if self.architecture != "deeplabv3plus":
            return self.words
        return f"{self.words}, {self.decoder_channels} decoder channels, output stride {self.output_stride}"

    def weights_file(self, root: Path) -> Path | None:
        """The file that `weights` names, seen from the run folder `root`; None for a word. InputError when it is missing."""
        if self.weights in WEIGHTS:
            return None
        path = root / expanded(self.weights)
        if not path.is_file():
            raise InputError(
                f"{path}: no such file ({self.section}.weights = {self.weights!r});"
                " give a .safetensors or .pth file, 'package', 'download' or 'scratch'"
            )
        return path


@dataclass(frozen=True)
class Student(Task):
    """The net of the last round, and of any round beyond it. It learns from the pseudo-labels of the nets of [task].

    Values that run.toml does not set are those of [task]. The student cannot start from another net's weights, so its
    first round starts 'fresh'.
    """

    section: ClassVar[str] = "student"
