"""The report as a self-contained HTML page, from page.html. Never imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from selfsyn.classes import ClassList
from selfsyn.config import RunConfig, to_toml
from selfsyn.report import facts, opening, pictures
from selfsyn.report.calibration import changes_of
from selfsyn.report.charts import Chart
from selfsyn.report.collect import Run
from selfsyn.report.content import hallucination
from selfsyn.report.domains import Domain, domain_charts
from selfsyn.report.figures import charts, domains
from selfsyn.report.scoreboard import ABSENT, scoreboard
from selfsyn.report.verdict import caveat, headline

PARTS = (
    ("verdict", "Verdict"),
    ("scores", "Scores"),
    ("facts", "What was run"),
    ("charts", "Charts"),
    ("data", "Data"),
    ("pictures", "Pictures"),
    ("making", "How it was made"),
)


def render(run: Run) -> str:
    """The page as HTML text. The same run gives the same text; all text from the run is escaped."""
    data = list(domains(run))
    drawn = _drawn(domain_charts(data, run.config.class_list))
    return (
        environment()
        .get_template("page.html")
        .render(
            css=stylesheet(),
            recipe=run.config.recipe,
            parts=[part for part in PARTS if part[0] != "data" or drawn],
            headline=headline(run.scores),
            caveat=caveat(run.scores),
            budget=facts.budget(run),
            hallucination=hallucination(run),
            stand_in=facts.stand_in(run),
            honesty=facts.honesty(run) if run.scores else None,
            facts=facts.meaning(run),
            board=scoreboard(run.scores),
            absent=ABSENT,
            charts=_drawn(charts(run)),
            data=drawn,
            opening=opening.opening_gallery(run),
            fair=opening.fair(run),
            next_steps=opening.next_steps(run, changes_of(run), data),
            adapted=pictures.adapted_gallery(run),
            sheet=pictures.sample_sheet(run),
            pseudo=pictures.pseudo_label_gallery(run),
            held_out=pictures.held_out_gallery(run),
            classes=class_colours(run.config.class_list),
            making=facts.making(run),
            run_toml=to_toml(run.config),
            libraries=facts.libraries(run),
        )
    )


def render_data(config: RunConfig, words: Sequence[tuple[str, str]], domains: Sequence[Domain]) -> str:
    """The page about the data sets only, as HTML text. words: (term, description)."""
    data = _drawn(domain_charts(domains, config.class_list))
    return environment().get_template("data.html").render(css=stylesheet(), recipe=config.recipe, facts=words, data=data)


def stylesheet() -> Markup:
    """The style sheet of all pages."""
    return Markup(_resource("page.css"))


def class_colours(classes: ClassList) -> list[tuple[str, str]]:
    """(class, its colour as CSS), for a legend."""
    return [(name, "rgb({} {} {})".format(*colour)) for name, colour in zip(classes.names, classes.colours, strict=True)]


def environment() -> Environment:
    """The templates of this folder, with escaping; an undefined name is an error."""
    loader = FunctionLoader(_resource)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": facts.short, "unbroken": _unbroken, "coded": _coded}
    return environment


def _drawn(charts_: Iterable[Chart]) -> list[tuple[Chart, Markup]]:
    return [(chart, Markup(chart.svg)) for chart in charts_]


def _resource(name: str) -> str:
    return resources.files("selfsyn.report").joinpath(name).read_text(encoding="utf-8")


def _coded(text: str) -> Markup:
    """Commands in `...` as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))


def _unbroken(sentence: str) -> str:
    """Keep a number with its word, and a hyphenated name, on a line of the headline."""
    together = re.sub(r"(?<=round) (?=\d)|(?<=\d) (?=%)", "\u00a0", sentence)
    return together.replace("source-only", "source\u2011only")
