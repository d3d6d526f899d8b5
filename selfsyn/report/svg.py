"""Figures as SVG text: matplotlib draws in stand-in colours that become CSS variables, so charts follow light and dark mode."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from selfsyn.stage import SOURCE_ONLY, Stage

RAMP_STEPS = 12

_CSS: Final = {
    "ink": "var(--ink)",
    "muted": "var(--muted)",
    "grid": "var(--line)",
    "paper": "var(--paper)",
    "source": "var(--source)",
    "oracle": "var(--oracle)",
} | {f"ramp-{i}": f"color-mix(in oklab, var(--late) {100 * i // RAMP_STEPS}%, var(--early))" for i in range(RAMP_STEPS + 1)}

# Any colours that charts do not use otherwise, except black, which matplotlib does not write.
COLOUR: Final = {name: f"#0a0b{index:02x}" for index, name in enumerate(_CSS)}

STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": COLOUR["ink"],
    "axes.edgecolor": COLOUR["grid"],
    "axes.labelcolor": COLOUR["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOUR["grid"],
    "grid.linewidth": 0.6,
    "text.color": COLOUR["ink"],
    "xtick.color": COLOUR["grid"],
    "ytick.color": COLOUR["grid"],
    "xtick.labelcolor": COLOUR["muted"],
    "ytick.labelcolor": COLOUR["muted"],
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.wspace": 0.04,
    "figure.constrained_layout.hspace": 0.06,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def stage_colour(stage: Stage, *, last_round: int) -> str:
    """The stand-in colour of a stage: source-only is grey, rounds follow a ramp, the oracle has another colour."""
    if stage.round is None:
        return COLOUR["source" if stage == SOURCE_ONLY else "oracle"]
    return round_colour(stage.round, last_round=last_round)


def round_colour(round_: int, *, last_round: int) -> str:
    """The stand-in colour of round 0..last_round."""
    return COLOUR[f"ramp-{round(RAMP_STEPS * round_ / max(last_round, 1))}"]


def to_svg(figure: Figure, *, name: str) -> str:
    """The figure as an <svg> element; the same figure gives the same text. Ids get the prefix `name`, unique on the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # In HTML, an <svg> needs no size in points and no XML namespaces.
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text).replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    for key, stand_in in COLOUR.items():
        text = text.replace(stand_in, _CSS[key])
    return text
