"""Data sets on disk: one file for each layout, and the frames that training, labelling and evaluation ask for."""

from selfsyn.data.frames import Frame, LabelledFrame, digest, labelled

__all__ = ["Frame", "LabelledFrame", "digest", "labelled"]
