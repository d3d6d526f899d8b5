"""Tables from the ids of label files to train ids, colours of labels, and evaluation protocols. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CAMVID_11, CITYSCAPES_19, CITYSCAPES_NAMES, IDD_LITE_7, IN_CAMVID, ClassList
from selfsyn.classes import IGNORE as IGNORE
from selfsyn.errors import InputError

CLASSES: Final = CITYSCAPES_19.names
CLASS_COUNT: Final = len(CITYSCAPES_19)
PALETTE: Final = np.array(CITYSCAPES_19.colours, dtype=np.uint8)


def table_of(names: Mapping[int, str], classes: ClassList = CITYSCAPES_19) -> NDArray[np.uint8]:
    """{id on disk: its name} -> (256,) uint8 table from an id to the train id in `classes`; IGNORE for any other id."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    for label_id, name in names.items():
        table[label_id] = classes.train_id(name)
    return table


TRAIN_ID_OF_LABEL_ID: Final = table_of(CITYSCAPES_NAMES)
LABEL_ID_OF_TRAIN_ID: Final = np.array(
    [label_id for label_id, name in CITYSCAPES_NAMES.items() if name in CLASSES] + [0] * (256 - CLASS_COUNT), dtype=np.uint8
)
# CamVid in the form of SegNet: 11 classes and void.
CAMVID_NAMES: Final = dict(enumerate((*CAMVID_11.names, "void")))
TRAIN_ID_OF_CAMVID_ID: Final = table_of(CAMVID_NAMES)


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol: how counts of train ids become scores.

    names: its classes, in order.  merge: (K,) position in `names` of each train id.
    left_out: classes without a score; predicting them is wrong.  ignored: classes whose true pixels do not count.
    variants: protocols whose scores are shown as well.
    """

    key: str
    names: tuple[str, ...]
    merge: NDArray[np.int64]
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    variants: tuple[Protocol, ...] = ()

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes with a score, in order."""
        return tuple(name for name in self.names if name not in self.left_out)


@dataclass(frozen=True)
class Rules:
    """A protocol as data, for any list of classes.

    names: the classes of the protocol in order; empty: what `merge` makes of the list.  merge: class of a list -> class of the
    protocol, where the names differ.  left_out, ignored, variants: see Protocol.
    """

    key: str
    names: tuple[str, ...] = ()
    merge: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    variants: tuple[Rules, ...] = ()


EVERY_CLASS: Final = "every-class"
OWN: Final = "own"
# SYNTHIA-RAND-CITYSCAPES lacks three classes of Cityscapes. The 13-class mIoU is the mean of 13 of the 16 IoUs; the other three
# classes are neither merged nor ignored. Published code treats true pixels of the three missing classes in two ways, and both
# are shown: A in AdaptSegNet, Seg-Uncertainty and DAFormer, B in CRST and ProDA (its 16-class data set).
_NOT_IN_SYNTHIA: Final = ("terrain", "truck", "train")
_NOT_IN_13: Final = (*_NOT_IN_SYNTHIA, "wall", "fence", "pole")
VARIANTS: Final = (
    f"A: true pixels of {', '.join(_NOT_IN_SYNTHIA)} count as false positives of the predicted class; B: they are ignored"
)
_SYNTHIA_VARIANTS: Final = (
    Rules("synthia-16 A", CLASSES, left_out=_NOT_IN_SYNTHIA),
    Rules("synthia-16 B", CLASSES, left_out=_NOT_IN_SYNTHIA, ignored=_NOT_IN_SYNTHIA),
    Rules("synthia-13 A", CLASSES, left_out=_NOT_IN_13),
    Rules("synthia-13 B", CLASSES, left_out=_NOT_IN_13, ignored=_NOT_IN_SYNTHIA),
)
RULES: Final = {
    rules.key: rules
    for rules in (
        Rules(CITYSCAPES_19.key, CITYSCAPES_19.names),
        Rules(CAMVID_11.key, CAMVID_11.names, IN_CAMVID),
        Rules("synthia-16", CLASSES, left_out=_NOT_IN_SYNTHIA, variants=_SYNTHIA_VARIANTS),
        Rules("synthia-13", CLASSES, left_out=_NOT_IN_13, variants=_SYNTHIA_VARIANTS),
        Rules(IDD_LITE_7.key, IDD_LITE_7.names, IDD_LITE_7.merge),
        Rules(EVERY_CLASS),
    )
}


def refuse_unknown_protocol(key: str) -> None:
    """InputError unless `key` is a built-in protocol, or 'own'."""
    if key not in (*RULES, OWN):
        raise InputError(f"protocol {key!r} is not known; expected one of {', '.join((*RULES, OWN))}")


def protocol(key: str, classes: ClassList = CITYSCAPES_19, *, own: Rules | None = None) -> Protocol:
    """The protocol `key` for a list of classes. own: that of run.toml, which is called 'own'.

    InputError for an unknown one, and where a class of either has no counterpart in the other.
    """
    refuse_unknown_protocol(key)
    if key != OWN:
        return applied(RULES[key], classes)
    if own is None:
        raise InputError("protocol 'own' is not there; write it as [scoring] in run.toml, or choose a built-in protocol")
    return applied(own, classes)


def applied(rules: Rules, classes: ClassList) -> Protocol:
    """The protocol that `rules` make of a list of classes. InputError where a class of either has no counterpart."""
    merged = {name: name if name in rules.names else rules.merge.get(name, "" if rules.names else name) for name in classes.names}
    names = rules.names or tuple(dict.fromkeys(merged.values()))
    remedy = f"expected a protocol for these classes; set held_out.protocol to {EVERY_CLASS!r}, or write [scoring]"
    homeless = [name for name, place in merged.items() if place not in names]
    if homeless:
        raise InputError(f"protocol {rules.key!r} does not say how {', '.join(homeless)} of the run's classes count; {remedy}")
    result = Protocol(
        rules.key, names, np.array([names.index(merged[name]) for name in classes.names]), rules.left_out, rules.ignored
    )
    missing = [name for name in result.scored if name not in merged.values()]
    if missing:
        raise InputError(f"protocol {rules.key!r} scores {', '.join(missing)}, which no class of the run stands for; {remedy}")
    if rules.key == OWN and (wrong := [name for name in rules.merge if name not in classes.names]):
        raise InputError(f"scoring.merge: {', '.join(wrong)} is no class of the run; expected some of {', '.join(classes.names)}")
    strange = [name for name in (*rules.left_out, *rules.ignored) if name not in names]
    if strange:
        raise InputError(f"protocol {rules.key!r} leaves out {', '.join(strange)}; expected some of {', '.join(names)}")
    return replace(result, variants=tuple(applied(variant, classes) for variant in rules.variants))


PROTOCOLS: Final = {key: protocol(key) for key in RULES}  # of Cityscapes' classes


def palette_of(classes: ClassList) -> NDArray[np.uint8]:
    """(256, 3) RGB by train id; IGNORE and ids without a class are black."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(classes)] = classes.colours
    return colours


def colourise(label: NDArray[np.uint8], classes: ClassList = CITYSCAPES_19) -> NDArray[np.uint8]:
    """(H, W) train ids -> (H, W, 3) RGB in the colours of the classes; IGNORE is black."""
    return palette_of(classes)[label]
