"""Translated images that a discriminator sees again (Shrivastava et al. 2017): it must not forget the generator's past."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Pool:
    """At most `capacity` translated images, in `images`."""

    def __init__(self, capacity: int) -> None:
        """capacity: images; 0 makes `exchange` return what it gets."""
        self.capacity = capacity
        self.images: list[Tensor] = []

    def exchange(self, image_BCHW: Tensor, *, random: np.random.Generator) -> Tensor:
        """(B, C, H, W) new images -> as many, each new or, with probability 1/2 once the pool is full, an older one.

        An image that makes way for an older one takes its place in the pool.
        """
        return torch.stack([self._exchange_one(image_CHW, random) for image_CHW in image_BCHW.detach()])

    def _exchange_one(self, image_CHW: Tensor, random: np.random.Generator) -> Tensor:
        if len(self.images) < self.capacity:
            self.images.append(image_CHW.clone())
            return image_CHW
        place, keep = int(random.integers(max(1, self.capacity))), bool(random.random() < 0.5)
        if keep or not self.capacity:
            return image_CHW
        older, self.images[place] = self.images[place], image_CHW.clone()
        return older
