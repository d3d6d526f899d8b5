"""Data sets on disk: a file for each layout, and the frames that training, labelling and evaluation read."""

from selfsyn.data.frames import Frame, LabelledFrame, labelled

__all__ = ["Frame", "LabelledFrame", "labelled"]
