"""The one self-contained page: everything collected and drawn, put into page.html. Never imports torch."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from selfsyn.labels import CLASSES, PALETTE
from selfsyn.report import facts, pictures
from selfsyn.report.collect import Run
from selfsyn.report.figures import charts
from selfsyn.report.scoreboard import ABSENT, scoreboard
from selfsyn.report.verdict import caveat, headline


def render(run: Run) -> str:
    """The page as HTML text. The same run gives the same text; everything that is text in the run is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": facts.short, "unbroken": _unbroken}
    return environment.from_string(_resource("page.html")).render(
        css=Markup(_resource("page.css")),
        recipe=run.config.recipe,
        headline=headline(run.scores),
        caveat=caveat(run.scores),
        stand_in=facts.stand_in(run),
        honesty=facts.honesty(run) if run.scores else None,
        facts=facts.meaning(run),
        board=scoreboard(run.scores),
        absent=ABSENT,
        charts=[(chart, Markup(chart.svg)) for chart in charts(run)],
        adapted=pictures.adapted_gallery(run),
        sheet=pictures.sample_sheet(run),
        pseudo=pictures.pseudo_label_gallery(run),
        held_out=pictures.held_out_gallery(run),
        classes=[(name, "rgb({} {} {})".format(*colour)) for name, colour in zip(CLASSES, PALETTE.tolist(), strict=True)],
        making=facts.making(run),
        run_toml=facts.run_toml(run),
        libraries=facts.libraries(run),
    )


def _resource(name: str) -> str:
    return resources.files("selfsyn.report").joinpath(name).read_text(encoding="utf-8")


def _unbroken(sentence: str) -> str:
    """Keeps on one line what a headline would part: a number and its word, a hyphenated name."""
    together = re.sub(r"(?<=round) (?=\d)|(?<=\d) (?=%)", "\u00a0", sentence)
    return together.replace("source-only", "source\u2011only")
