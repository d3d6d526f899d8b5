"""Lists of classes: names, colours, and which other names they cover. Plain data: imports neither numpy nor torch.

A label file holds ids; a data set gives each id a name; a run's list gives each name a train id, its position in the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from selfsyn.errors import InputError

IGNORE: Final = 255  # the train id of pixels without a class
IGNORED: Final = "ignore"  # the name of such pixels
MOST: Final = 254  # classes of a list: 255 is IGNORE, and 254 stays free
Colour = tuple[int, int, int]

# Names of pixels that are no thing in any data set.
VOID: Final = frozenset(
    (IGNORED, "void", "unlabeled", "ego vehicle", "rectification border", "out of roi", "license plate", "none", "any")
)


@dataclass(frozen=True)
class ClassList:
    """The classes of a run or of a teacher, by train id.

    key: the name of a built-in list, or 'own'.  colours: RGB of each class.
    merge: other names for pixels -> a class of this list, or IGNORED.
    """

    key: str
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    merge: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def covers(self, name: str) -> bool:
        """Whether the list says what becomes of pixels with this name."""
        return name in self.names or name in self.merge or name in VOID

    def class_of(self, name: str) -> str:
        """The class that a name of a data set belongs to, or IGNORED. A name that the list does not cover is ignored."""
        return name if name in self.names else self.merge.get(name, IGNORED)

    def train_id(self, name: str) -> int:
        """The train id of a name of a data set, IGNORE without a class."""
        found = self.class_of(name)
        return IGNORE if found == IGNORED else self.names.index(found)

    @property
    def hexes(self) -> tuple[str, ...]:
        """The colours as '#rrggbb'."""
        return tuple("#" + bytes(colour).hex() for colour in self.colours)

    def difference(self, names: Sequence[str]) -> str:
        """How a list of other names differs from this one, in words; '' for the same names in the same order."""
        theirs = tuple(names)
        if theirs == self.names:
            return ""
        pairs = list(zip(theirs, self.names, strict=False))
        place = next((place for place, (other, ours) in enumerate(pairs) if other != ours), len(pairs))
        other, ours = (some[place] if place < len(some) else "nothing" for some in (theirs, self.names))
        return f"{len(theirs)} classes, of which number {place} is {other!r}; run.toml has {len(self)}, and there {ours!r}"


# Cityscapes' label ids with their names, train classes and colours (cityscapesScripts, helpers/labels.py). The position of a
# class in CITYSCAPES_19 is its train id.
CITYSCAPES_NAMES: Final = dict(
    enumerate(
        (
            *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
            *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
            *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
            *("bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
        )
    )
)
_CITYSCAPES_COLOURS: Final[dict[str, Colour]] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
# CamVid's names for a class of Cityscapes. A bicyclist covers rider and bicycle: in training it is a rider.
_OF_CAMVID: Final = {
    "tree": "vegetation",
    "pavement": "sidewalk",
    "sign": "traffic sign",
    "pedestrian": "person",
    "bicyclist": "rider",
}
_TAKEN_FOR_ROAD: Final = {"road line": "road"}  # CARLA's; SYNTHIA's lane markings are left out, as in published results
_LEFT_OUT: Final = tuple(
    name for name in CITYSCAPES_NAMES.values() if name not in _CITYSCAPES_COLOURS and name not in VOID
)  # of Cityscapes' official scores
_OTHER_THINGS: Final = (
    *("lane marking", "road work", "water", "other"),  # of SYNTHIA and CARLA
    *("drivable fallback", "non-drivable fallback", "autorickshaw", "vehicle fallback", "curb", "billboard"),  # of IDD
    "obstacle fallback",
)


def _ignored(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, IGNORED)


CITYSCAPES_19: Final = ClassList(
    "cityscapes-19",
    tuple(_CITYSCAPES_COLOURS),
    tuple(_CITYSCAPES_COLOURS.values()),
    _OF_CAMVID | _TAKEN_FOR_ROAD | _ignored(*_LEFT_OUT, *_OTHER_THINGS),
)

# CamVid with the 11 classes of SegNet, and its colours (label_colors.txt of the data set).
_CAMVID_COLOURS: Final[dict[str, Colour]] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
# Cityscapes' class -> CamVid's.
IN_CAMVID: Final = {
    "sidewalk": "pavement",
    "vegetation": "tree",
    "terrain": "tree",
    "traffic sign": "sign",
    "traffic light": "sign",
    "wall": "fence",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "person": "pedestrian",
    "rider": "bicyclist",
    "bicycle": "bicyclist",
    "motorcycle": "bicyclist",
}
CAMVID_11: Final = ClassList(
    "camvid-11",
    tuple(_CAMVID_COLOURS),
    tuple(_CAMVID_COLOURS.values()),
    IN_CAMVID | _TAKEN_FOR_ROAD | _ignored(*_LEFT_OUT, *_OTHER_THINGS),
)

# The seven classes of IDD's first level (AutoNUE, helpers/anue_labels.py), which IDD Lite uses.
_IDD_LITE_COLOURS: Final[dict[str, Colour]] = {
    "drivable": (128, 64, 128),
    "non-drivable": (244, 35, 232),
    "living things": (220, 20, 60),
    "vehicles": (0, 0, 230),
    "roadside objects": (190, 153, 153),
    "far objects": (70, 70, 70),
    "sky": (70, 130, 180),
}
IDD_LITE_7: Final = ClassList(
    "idd-lite-7",
    tuple(_IDD_LITE_COLOURS),
    tuple(_IDD_LITE_COLOURS.values()),
    {name: group for group, names in {
        "drivable": ("road", "parking", "drivable fallback", "road line", "lane marking"),
        "non-drivable": ("sidewalk", "terrain", "rail track", "non-drivable fallback", "pavement"),
        "living things": ("person", "rider", "pedestrian", "bicyclist"),
        "vehicles": (
            *("car", "truck", "bus", "train", "motorcycle", "bicycle", "caravan", "trailer", "autorickshaw"),
            "vehicle fallback",
        ),
        "roadside objects": (
            *("wall", "fence", "guard rail", "pole", "polegroup", "traffic light", "traffic sign", "sign", "curb", "billboard"),
            "obstacle fallback",
        ),
        "far objects": ("building", "bridge", "tunnel", "vegetation", "tree"),
    }.items() for name in names} | _ignored("static", "dynamic", "ground", "road work", "water", "other"),
)  # fmt: skip

LISTS: Final = {some.key: some for some in (CITYSCAPES_19, CAMVID_11, IDD_LITE_7)}


def known_colour(name: str) -> Colour | None:
    """The colour of a class in the first built-in list that has it, or None."""
    return next((some.colours[some.names.index(name)] for some in LISTS.values() if name in some.names), None)


def colours_for(names: Sequence[str]) -> tuple[Colour, ...]:
    """A colour for each name: that of a built-in list, otherwise the next of PASCAL VOC's map that is free. All differ."""
    taken = {colour for name in names if (colour := known_colour(name))} | {(0, 0, 0)}
    free = (colour for place in range(1, 2 * MOST) if (colour := voc_colour(place)) not in taken)
    found: list[Colour] = []
    for name in names:
        known = known_colour(name)
        found.append(next(free) if known is None or known in found else known)
    return tuple(found)


def voc_colour(place: int) -> Colour:
    """The colour at a place of PASCAL VOC's map: its bits, spread over red, green and blue (VOCdevkit, VOClabelcolormap)."""
    red = green = blue = 0
    for bit in range(8):
        red |= (place >> (3 * bit) & 1) << (7 - bit)
        green |= (place >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (place >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def parsed_colour(text: str) -> Colour:
    """'#804080' -> (128, 64, 128). InputError for anything else."""
    digits = text.removeprefix("#")
    if len(text) != 7 or len(digits) != 6 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise InputError(f"{text!r} is not a colour; expected '#rrggbb', for example '#804080'")
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def named_list(key: str) -> ClassList:
    """The built-in list called `key`. InputError names those that there are."""
    if key not in LISTS:
        raise InputError(f"class list {key!r} is not known; expected one of {', '.join(LISTS)}")
    return LISTS[key]


def of_names(names: Sequence[str], hexes: Sequence[str] = ()) -> ClassList:
    """The list with these names: the built-in one if it is that, otherwise one with the colours '#rrggbb', or chosen ones."""
    colours = tuple(map(parsed_colour, hexes)) if hexes else None
    for some in LISTS.values():
        if some.names == tuple(names) and colours in (None, some.colours):
            return some
    return ClassList("own", tuple(names), colours or colours_for(names))
