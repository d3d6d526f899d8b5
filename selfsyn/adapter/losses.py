"""Pure functions for CyCADA's pixel-level losses (Hoffman et al. 2018, eq. 2-4; least-squares GAN: Mao et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fooling(fake_score: Tensor) -> Tensor:
    """The generator's least-squares GAN loss, mean (D(G(x)) - 1)^2 (Mao et al., eq. 9 with b = c = 1, a = 0).

    fake_score: discriminator scores of translated images, any shape -> scalar.
    """
    return (fake_score - 1).square().mean()


def telling_apart(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """The discriminator's least-squares GAN loss, half of mean (D(y) - 1)^2 + mean D(G(x))^2 (Mao et al., eq. 9).

    real_score, fake_score: scores of real and of translated images, any shapes -> scalar.
    """
    return 0.5 * ((real_score - 1).square().mean() + fake_score.square().mean())


def reconstruction(output_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
    """Mean absolute difference -> scalar.

    The identity loss compares G_ST(x_t) with x_t (Zhu et al. 2017, section 5.2). The cycle loss compares G_TS(G_ST(x_s)) with
    x_s, both `softened` (Hoffman et al., eq. 3).
    """
    return F.l1_loss(output_BCHW, image_BCHW)


def softened(image_BCHW: Tensor) -> Tensor:
    """Smooth with a 3 x 3 binomial filter, (B, C, H, W) -> (B, C, H - 2, W - 2).

    The cycle loss compares smoothed images, because noise and blurred detail cannot be recovered. Compared pixel by pixel,
    the loss would reward hiding detail in the translated image, and would suppress noise and blur.
    """
    rows = (image_BCHW[..., :-2, :] + 2 * image_BCHW[..., 1:-1, :] + image_BCHW[..., 2:, :]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def semantic(logits_BKHW: Tensor, target_BHW: Tensor) -> Tensor:
    """Semantic consistency, one direction (Hoffman et al., eq. 4): mean over pixels of CE(f_S(G(x)), argmax f_S(x)).

    logits_BKHW: f_S(G(x)).  target_BHW: int64 class of each pixel, argmax f_S(x) -> scalar.
    """
    # A product with the one-hot target, because indexing by class has no deterministic gradient on CUDA.
    chosen_BKHW = torch.zeros_like(logits_BKHW).scatter_(1, target_BHW[:, None], 1.0)
    return torch.mean(torch.logsumexp(logits_BKHW, dim=1) - (logits_BKHW * chosen_BKHW).sum(dim=1))
