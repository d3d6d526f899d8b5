"""The review page: the most doubtful pseudo-labels and a choice for a person, as pictures. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import ClassList
from selfsyn.config import RunConfig
from selfsyn.images import encode_jpeg, resize_image, resize_label
from selfsyn.overlay import overlay
from selfsyn.report.page import class_colours, environment, stylesheet
from selfsyn.report.pictures import Picture, picture_of, size_within
from selfsyn.review import Measures

WIDTH = 288  # pixels across
QUALITY = 72
BUDGET = 2_400_000  # bytes of pictures on the page
Look = Callable[[str], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@dataclass(frozen=True)
class Card:
    """An image of the page. photo and labels are None beyond the page's budget."""

    measures: Measures
    photo: Picture | None
    labels: Picture | None


def render(
    words: Sequence[tuple[str, str]],
    worst: Iterable[Measures],
    spread: Iterable[Measures],
    *,
    look: Look,
    config: RunConfig,
    round_: int,
) -> str:
    """The page as HTML text. look: name -> (H, W, 3) photo and (H, W) train ids with IGNORE.  words: (term, description)."""
    left = BUDGET
    galleries = []
    for chosen in (spread, worst):
        cards = []
        for one in chosen:
            card = _card(one, look if left > 0 else None, config.class_list)
            left -= sum(len(picture.uri) for picture in (card.photo, card.labels) if picture)
            cards.append(card)
        galleries.append(cards)
    page = environment().get_template("review.html")
    return page.render(
        css=stylesheet(),
        recipe=config.recipe,
        round=round_,
        facts=words,
        spread=galleries[0],
        worst=galleries[1],
        classes=class_colours(config.class_list),
    )


def _card(one: Measures, look: Look | None, classes: ClassList) -> Card:
    if look is None:
        return Card(one, None, None)
    photo, label = look(one.name)
    size = size_within(photo, WIDTH)
    small = resize_image(photo, size=size)
    drawn = overlay(small, resize_label(label, size=size), classes)
    made = [picture_of(encode_jpeg(one, quality=QUALITY), one, media="image/jpeg", what="photo") for one in (small, drawn)]
    return Card(one, *made)
