"""The built-in street world: labelled street frames in two looks, drawn by a small ray caster."""

from selfsyn.world.frame import render
from selfsyn.world.look import Look
from selfsyn.world.looks import LOOKS

__all__ = ["LOOKS", "Look", "render"]
