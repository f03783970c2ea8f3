"""The page: what a run holds, put into the template."""

from __future__ import annotations

import base64
import functools
import hashlib
import shlex
from collections import Counter
from pathlib import Path

import jinja2
from markupsafe import Markup

from reasoner_rm.data.io import atomic
from reasoner_rm.report import words
from reasoner_rm.report.curves import accuracy_plot, component_names, others, told
from reasoner_rm.report.judgements import newest_first
from reasoner_rm.report.plots import component_colours
from reasoner_rm.report.read import Run, Summary, read_run
from reasoner_rm.report.rollouts import bar_scales
from reasoner_rm.report.story import lead, stages_of, stops
from reasoner_rm.report.thumbnails import thumbnail
from reasoner_rm.report.verdict import headline, remarks
from reasoner_rm.schema import CANDIDATES

TEMPLATES = Path(__file__).parent / "templates"

LIMIT = 5_000_000
"""Where a page with fewer rollouts is made: below this many bytes a browser opens it at once, a mail carries it."""

GROUPS = (39, 18, 9, 3)
"""How many groups of rollouts to show: the first number that keeps the page below its limit."""

JUDGEMENTS = 6
"""How many right and how many wrong judgements of an evaluation are shown."""


def write_report(run: str | Path) -> Path:
    """Write `report.html` into a run directory, finished or not; its path.

    Raises:
        InputError: the directory holds nothing of a run.
    """
    for groups in GROUPS:
        page = render(read_run(Path(run), groups=groups))
        if len(page.encode()) < LIMIT:
            break
    out = Path(run) / "report.html"
    with atomic(out) as file:
        file.write(page)
    return out


def render(run: Run) -> str:
    """The page as text. Everything in it that came from a model or from data is escaped."""
    components = component_names(run)
    colours = component_colours(components)
    rollouts = [rollout for chapter in run.chapters for rollout in chapter]
    completions = [completion for rollout in rollouts for completion in rollout.completions]
    judged = [(j, j.some(False, JUDGEMENTS), j.some(True, JUDGEMENTS)) for j in newest_first(run.judgements)]
    refs = [ref for rollout in rollouts for ref in rollout.sample.images]
    refs += [ref for _, wrong, right in judged for judgement in (*wrong, *right) for ref in judgement.images]
    images = {str(ref): thumbnail(str(ref)) for ref in refs}
    script = asset("report.js")
    page = environment().get_template("report.html.jinja").render(
        run=run,
        rollouts=rollouts,
        completions=completions,
        summary=run.summary or Summary(),
        headline=headline(run.summary),
        lead=lead(run.summary) if run.summary else "",
        remarks=remarks(run.summary),
        stops=stops(run, components),
        stages=stages_of(run),
        accuracy=accuracy_plot(run),
        told=told(run, colours),
        others=others(run),
        colours=colours,
        scales=bar_scales(completions),
        kinds=Counter(kind for completion in completions for kind in completion.kinds),
        images=images,
        missing=[ref for ref, uri in images.items() if uri is None],
        judgements=judged,
        compares=run.card is not None and run.card.task in CANDIDATES,
        style=asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode()  # a model's lone surrogates cannot be written


@functools.cache
def environment() -> jinja2.Environment:
    """What turns the templates into pages: everything escaped, every missing name an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in (
        words.data_name, words.duration, words.figure, words.memory, words.percent, words.signed, words.whole,
        words.split_name, words.stage_name, words.clip, shlex.quote,
    )}  # fmt: skip
    return environment


def asset(name: str) -> Markup:
    """A style sheet or script of the templates' folder, to stand in a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
