"""A plain vision transformer (ViT) of timm with the light decoder of VFM-UDA (Englert et al. 2024).

Any ViT with one stream of equal tokens fits: DINOv2 with and without registers, DINOv3, EVA-02, AugReg. Images of any size are
brought onto a canvas of whole patches inside the net. Position embeddings are resampled to its grid by products with small
matrices: torch's bicubic interpolation has no deterministic gradient on CUDA.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

import timm
import torch
from timm.layers import LayerNorm2d, PatchEmbed
from timm.models import eva, vision_transformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from selfsyn.config import Task, Train
from selfsyn.errors import InputError
from selfsyn.task.scores import Scores, TaskNet, line_shares, products, resized

FINER: Final = 4  # rows and columns of scores in a patch
TOKENS: Final = ("pos_embed", "cls_token", "reg_token")  # without weight decay, like norms and biases
CUBIC: Final = -0.5  # the kernel of torch's antialiased bicubic interpolation (Keys 1981)
CLASSIFIER_DEVIATION: Final = 0.1  # of the initial weights (VFM-UDA)
PLAIN: Final = "expected one stream of tokens from square patches, such as vit_small_patch14_dinov2"
KINDS: Final = {vision_transformer.VisionTransformer: vision_transformer, eva.Eva: eva}


class ViT(TaskNet):
    """Encoder and decoder, and an auxiliary head on the tokens of the middle block if `auxiliary_at_inference` is above 0."""

    attends = True

    def __init__(self, task: Task, *, classes: int) -> None:
        """Build with random weights. InputError if the backbone is no plain ViT, or has fewer blocks than should be trained."""
        super().__init__()
        self.backbone = _plain_vit(task)
        self.patch = int(self.backbone.patch_embed.patch_size[0])
        self.scale = Fraction(str(task.input_scale))
        width: int = self.backbone.embed_dim
        half, quarter = width // 2, width // 4
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
            LayerNorm2d(quarter),
            nn.Conv2d(quarter, quarter, 3, padding=1),
            LayerNorm2d(quarter),
        )
        self.classifier = nn.Conv2d(quarter, classes, 1)
        nn.init.normal_(self.classifier.weight, std=CLASSIFIER_DEVIATION)
        self.auxiliary = nn.Conv2d(width, classes, 1) if task.auxiliary_at_inference else None
        self._freeze(task)

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> logits over the canvas, with FINER rows and columns in a patch."""
        rows, columns = (self._patches(side) for side in image_BCHW.shape[-2:])
        last, middle = self._encoded(self._canvas(image_BCHW, rows, columns), rows, columns)
        main = self.classifier(self.decoder(last))
        return Scores(main, None if self.auxiliary is None else resized(self.auxiliary(middle), size=main.shape[-2:]))

    def to_image(self, logits_BKhw: Tensor, *, like: Tensor) -> Tensor:
        """Logits over the canvas -> (B, K, H, W) of the image, bilinear."""
        step = float(self.scale * FINER / self.patch)
        height, width = like.shape[-2:]
        rows, columns = (self._patches(side) * FINER for side in (height, width))
        return products(
            line_shares(rows, height, step=step, like=logits_BKhw),
            logits_BKhw,
            line_shares(columns, width, step=step, like=logits_BKhw),
        )

    def renamed(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See TaskNet; timm's own conversion, which knows the names of the published files and resamples position embeddings."""
        convert: Any = KINDS[type(self.backbone)].checkpoint_filter_fn  # type: ignore[attr-defined]
        converted: Mapping[str, Tensor] = convert(dict(state), self.backbone)
        return converted

    def recompute_activations(self) -> None:
        """See TaskNet; at the borders of blocks activations are kept."""
        self.backbone.set_grad_checkpointing()

    def parameter_groups(self, train: Train) -> list[dict[str, Any]]:
        """See TaskNet. The rate of a block is `layer_decay` times that of the next one, the last block's that of the encoder.

        Norms, biases, position embeddings and class and register tokens have no weight decay.
        """
        blocks = len(self.backbone.blocks)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.named_parameters():
            inside = name.removeprefix("backbone.")
            depth = _depth(inside, blocks=blocks)
            factor = train.head_lr_factor if inside == name else train.layer_decay ** (blocks - depth)
            decays = parameter.ndim > 1 and inside not in TOKENS
            if parameter.requires_grad:
                groups[factor, decays].append(parameter)
        return [
            {"params": some, "factor": factor, "weight_decay": train.weight_decay if decays else 0.0}
            for (factor, decays), some in groups.items()
        ]

    def _freeze(self, task: Task) -> None:
        """Leave gradients to the last `trainable_blocks` blocks and the norm behind them; with 0 to no part of the encoder."""
        count, blocks = task.trainable_blocks, self.backbone.blocks
        if count == "all":
            return
        if count > len(blocks):
            raise InputError(
                f"{task.section}.trainable_blocks is {count}, but {task.backbone} has {len(blocks)}; expected at most that"
            )
        self.backbone.requires_grad_(False)
        for part in (*blocks[len(blocks) - count :], self.backbone.norm, self.backbone.fc_norm) if count else ():
            part.requires_grad_(True)

    def _patches(self, side: int) -> int:
        """Patches along `side` pixels of the image, enlarged by `input_scale` and rounded up to whole patches."""
        # In integers: the exporter cannot express float arithmetic on dynamic sizes.
        patch = self.patch * self.scale.denominator
        return (side * self.scale.numerator + patch - 1) // patch

    def _canvas(self, image_BCHW: Tensor, rows: int, columns: int) -> Tensor:
        """The image, enlarged, in the upper left corner of rows x columns patches; its last pixels continue to the edge."""
        step = float(1 / self.scale)
        height, width = image_BCHW.shape[-2:]
        return products(
            line_shares(height, rows * self.patch, step=step, like=image_BCHW),
            image_BCHW,
            line_shares(width, columns * self.patch, step=step, like=image_BCHW),
        )

    def _encoded(self, canvas_BCHW: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """-> the features (B, D, rows, columns) of the last and of the middle block."""
        net = self.backbone
        tokens_BND = net.patch_embed.norm(net.patch_embed.proj(canvas_BCHW).flatten(2).transpose(1, 2))
        prefix = [token.expand(tokens_BND.shape[0], -1, -1) for token in (net.cls_token, net.reg_token) if token is not None]
        if net.pos_embed is not None:
            count = 0 if net.no_embed_class else net.num_prefix_tokens
            tokens_BND = tokens_BND + self._positions(net.pos_embed[:, count:], rows, columns)
            if count:
                prefix = [torch.cat(prefix, dim=1) + net.pos_embed[:, :count]]
        x_BND = net.norm_pre(torch.cat([*prefix, tokens_BND], dim=1))
        rope = {"rope": net.rope.get_embed(shape=(rows, columns))} if getattr(net, "rope", None) is not None else {}
        middle_BND = x_BND
        for number, block in enumerate(net.blocks, start=1):
            x_BND = _recomputed(block, x_BND, rope) if net.grad_checkpointing and self.training else block(x_BND, **rope)
            middle_BND = x_BND if number == (len(net.blocks) + 1) // 2 else middle_BND
        x_BND = net.fc_norm(net.norm(x_BND))
        last, middle = (
            features[:, net.num_prefix_tokens :].transpose(1, 2).unflatten(2, (rows, columns)) for features in (x_BND, middle_BND)
        )
        return last, middle

    def _positions(self, grid_1ND: Tensor, rows: int, columns: int) -> Tensor:
        """The position embeddings resampled to rows x columns -> (1, rows * columns, D)."""
        height, width = self.backbone.patch_embed.grid_size
        plane = grid_1ND.transpose(1, 2).unflatten(2, (height, width))
        sampled = products(_cubic_shares(height, rows, like=plane), plane, _cubic_shares(width, columns, like=plane))
        return sampled.flatten(2).transpose(1, 2)


def _plain_vit(task: Task) -> Any:
    """timm's model. InputError if timm does not know it or it is no plain ViT."""
    try:
        net: Any = timm.create_model(task.backbone, num_classes=0, dynamic_img_size=True, drop_path_rate=task.drop_path)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        raise InputError(f"{_not_plain(task)} ({error}); {PLAIN}") from error
    embed: Any = getattr(net, "patch_embed", None)
    plain = type(net) in KINDS and type(embed) is PatchEmbed and not getattr(net, "rope_mixed", False)
    if not plain or embed.patch_size[0] != embed.patch_size[1]:
        raise InputError(f"{_not_plain(task)}; {PLAIN}")
    return net


def _not_plain(task: Task) -> str:
    return f"{task.section}.backbone {task.backbone!r}: timm has no plain ViT of that name"


def _recomputed(block: nn.Module, x_BND: Tensor, rope: dict[str, Tensor]) -> Tensor:
    """The block's output; its activations are computed again in the backward pass."""
    again: Callable[..., Tensor] = block
    return checkpoint(lambda x_BND: again(x_BND, **rope), x_BND, use_reentrant=False)


def _depth(name: str, *, blocks: int) -> int:
    """0 for what comes before the first block, 1 for the first block, ..., `blocks` for the last block and all behind it."""
    first, _, rest = name.partition(".")
    if first == "blocks":
        return int(rest.partition(".")[0]) + 1
    return 0 if first in ("patch_embed", "norm_pre", *TOKENS) else blocks


def _cubic_shares(before: int, after: int, *, like: Tensor) -> Tensor:
    """(after, before): the weight of each input pixel of a line in each output pixel, as in torch's antialiased bicubic
    interpolation."""
    places = torch.arange(after, device=like.device, dtype=like.dtype)
    step = before / (places.max() + 1)  # a tensor, because the exporter cannot express float arithmetic on dynamic sizes
    reach = step.clamp(min=1)
    centres = (places + 0.5) * step - 0.5
    away = ((centres[:, None] - torch.arange(before, device=like.device)) / reach).abs()
    near = ((CUBIC + 2) * away - (CUBIC + 3)) * away**2 + 1
    far = ((away - 5) * away + 8) * away * CUBIC - 4 * CUBIC
    weights = torch.where(away < 1, near, torch.where(away < 2, far, 0.0))
    return weights / weights.sum(dim=1, keepdim=True)
