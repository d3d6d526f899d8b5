"""Speed of rendering the street world: frames/s at 240x176 with one process and with two.

python benchmarks/world.py
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

from selfsyn.world import LOOKS, render

SIZE = (240, 176)
FRAMES = 24
ROUNDS = 3


def main() -> None:
    """Alternate one and two processes, so that load on the machine slows both alike, and print the best round of each."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as one, ProcessPoolExecutor(2, mp_context=context) as two:
        for executor in (one, two):
            list(executor.map(draw, [("engine", i) for i in range(4)]))  # imports and noise tables
        for look in LOOKS:
            rates = {1: 0.0, 2: 0.0}
            for _ in range(ROUNDS):
                for number, executor in ((1, one), (2, two)):
                    rates[number] = max(rates[number], rate(executor, look))
            print(f"{look}: {rates[2]:.1f} frames/s with 2 processes, {rates[1]:.1f} with 1, ratio {rates[2] / rates[1]:.2f}")


def rate(executor: ProcessPoolExecutor, look: str) -> float:
    """Frames per second of one round."""
    start = time.perf_counter()
    for _ in executor.map(draw, [(look, i) for i in range(FRAMES)], chunksize=2):
        pass
    return FRAMES / (time.perf_counter() - start)


def draw(frame: tuple[str, int]) -> int:
    """Render a frame; return only its index."""
    render(frame[0], seed=0, index=frame[1], size=SIZE)
    return frame[1]


if __name__ == "__main__":
    main()
