"""A pool of earlier translated images for a discriminator, so that it does not forget them (Shrivastava et al. 2017)."""

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
        """(B, C, H, W) new images -> the same shape. Once the pool is full, each image is with probability 1/2 exchanged for a
        random image of the pool.
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
