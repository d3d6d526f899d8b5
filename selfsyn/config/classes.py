"""[classes] and [scoring]: the classes of a run, and a protocol of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from selfsyn.classes import IGNORED, MOST, VOID, ClassList, colours_for, named_list, parsed_colour
from selfsyn.config.bounds import Filled
from selfsyn.errors import InputError


@dataclass(frozen=True)
class Classes:
    """The classes that the nets predict. Without [classes] they are those of Cityscapes.

    list: a built-in list, see docs/data.md.
    names: the user's own classes instead; their order gives the train ids.
    colours: '#rrggbb' of each class; without them, those of the built-in lists, and free ones for other names.
    merge: a name that a data set gives to pixels -> a class, or "ignore": { rider = "person" }. A class of `list` that is
    merged is no class of its own any more.
    """

    list: str = ""
    names: tuple[Filled, ...] = ()
    colours: tuple[str, ...] = ()
    merge: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made()

    def made(self) -> ClassList:
        """The list. InputError when it is none: no classes, too many, two of one name or colour, a merge without a target."""
        if bool(self.list) == bool(self.names):
            raise InputError("classes: expected either `list`, a built-in list, or `names`, your own classes")
        base = named_list(self.list) if self.list else ClassList("own", self.names, colours_for(self.names))
        if not (self.merge or self.colours):
            _refuse_names(base.names)
            return base
        kept = [place for place, name in enumerate(base.names) if name not in self.merge]
        names = tuple(base.names[place] for place in kept)
        colours = tuple(map(parsed_colour, self.colours)) or tuple(base.colours[place] for place in kept)
        _refuse_names(names)
        _refuse_colours(colours, names=names)
        return ClassList("own", names, colours, _merged(base.merge, self.merge, names=names))


def _refuse_names(names: tuple[str, ...]) -> None:
    if not 2 <= len(names) <= MOST:
        raise InputError(f"classes: {len(names)} classes; expected 2 to {MOST}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"classes: {', '.join(twice)} is there twice; expected names that differ")
    wrong = [name for name in names if name in VOID or not name.isprintable()]
    if wrong:
        raise InputError(f"classes: {wrong[0]!r} is no name for a class; pixels without a class need none, so leave it out")


def _refuse_colours(colours: tuple[tuple[int, int, int], ...], *, names: tuple[str, ...]) -> None:
    if len(colours) != len(names):
        raise InputError(f"classes: {len(colours)} colours for {len(names)} classes; expected one for each, or none")
    if len(set(colours)) < len(colours) or (0, 0, 0) in colours:
        raise InputError("classes: two classes have one colour, or a class is black, which stands for ignored pixels; change it")


def _merged(before: Mapping[str, str], more: Mapping[str, str], *, names: tuple[str, ...]) -> dict[str, str]:
    """The merges of a built-in list and the user's: pixels of a class that is merged go where the class goes."""
    for name, target in more.items():
        if target not in (*names, IGNORED):
            raise InputError(f"classes: merge: {name} = {target!r} is not a class; expected one of {', '.join(names)}, or ignore")
    return {name: more.get(target, target) for name, target in before.items()} | dict(more)


@dataclass(frozen=True)
class Scoring:
    """A protocol of the user's own, for held_out.protocol = "own".

    merge: classes that count as one in the score: { bus = "vehicle", truck = "vehicle" }.
    left_out: classes without a score; predicting them is wrong.
    ignored: classes whose true pixels do not count.
    """

    merge: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
