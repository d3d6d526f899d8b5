"""adapt at size: the memory of a translation is that of a tile, whatever the image."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource, sys
import numpy as np, torch
from selfsyn.adapter.generator import Generator
from selfsyn.adapter.tiles import translate
torch.set_num_threads(1)
translator = Generator(channels=16, blocks=1).eval()
def peak(width, height):
    translate(translator, np.zeros((height, width, 3), np.uint8), seed=0, name="a", tile=128)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = peak(384, 384), peak(1536, 768)  # both have a tile with neighbours all around
print(small, large)
"""


def test_a_larger_image_needs_no_more_memory_beyond_itself() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=True)
    small, large = (int(kib) * 1024 for kib in done.stdout.split())
    itself = 2 * 3 * (1536 * 768 - 384 * 384)  # image and result, in bytes; one layer's features of it would be 75 MB
    assert large - small < itself + 20 * 2**20, f"{(large - small) / 2**20:.0f} MiB more"
