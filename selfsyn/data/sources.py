"""The data sets of a run, by role. The real images come without labels; the two functions that read real labels say so."""

from __future__ import annotations

from selfsyn.config import RunConfig
from selfsyn.data.frames import Frame, LabelledFrame, images, labelled
from selfsyn.data.frames import digest as listing_digest
from selfsyn.errors import InputError
from selfsyn.flow import world_phase
from selfsyn.layout import Layout


def synthetic(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The labelled synthetic frames and the digest of their listing."""
    root = layout.resolve(config.synthetic.root)
    frames = labelled(root, layout=config.synthetic.layout, split=config.synthetic.split)
    return frames, listing_digest(frames, root=root)


def real(layout: Layout, config: RunConfig) -> tuple[list[Frame], str]:
    """The real images, without labels, and the digest of their listing."""
    root = layout.resolve(config.real.root)
    frames = images(root, layout=config.real.layout, split=config.real.split)
    return frames, listing_digest(frames, root=root)


def oracle(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The real training images with their labels: for the oracle bound alone, which is no result of the method."""
    root = layout.resolve(config.real.root)
    frames = labelled(root, layout=config.real.layout, split=config.real.split)
    return frames, listing_digest(frames, root=root)


def held_out(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], str]:
    """The labelled real images that `evaluate` reads. InputError when the run names none, or trains on them."""
    if config.held_out is None:
        raise InputError(f"{layout.configuration}: no held_out data set; evaluation needs one (layout, root, split)")
    root = layout.resolve(config.held_out.root)
    frames = labelled(root, layout=config.held_out.layout, split=config.held_out.split)
    _refuse_overlap(layout, config, frames)
    return frames, listing_digest(frames, root=root)


def _refuse_overlap(layout: Layout, config: RunConfig, frames: list[LabelledFrame]) -> None:
    training = {frame.image.resolve() for frame in real(layout, config)[0]}
    for frame in frames:
        if frame.image.resolve() in training:
            raise InputError(
                f"{frame.image}: both in real and in held_out; a score on training images is no score; change a split"
            )


def check(layout: Layout, config: RunConfig) -> None:
    """Find a mistake in the user's data or weights before hours are spent: InputError. A world of our own is not looked at."""
    config.task.weights_file()
    if world_phase(config):
        return
    synthetic(layout, config)
    real(layout, config)
    if config.held_out is not None:
        held_out(layout, config)
