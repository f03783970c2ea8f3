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

from reasoner_rm.report import words
from reasoner_rm.report.charts import accuracy_plot, kind_plots, reliability_plots
from reasoner_rm.report.columns import columns, meaning
from reasoner_rm.report.conclusions import headline, remarks
from reasoner_rm.report.curves import component_names, main_plots, others
from reasoner_rm.report.item_browser import Browser, browse
from reasoner_rm.report.overview import intro, stages_of, stops
from reasoner_rm.report.plots import component_colours
from reasoner_rm.report.rollouts import bar_scales
from reasoner_rm.report.run_reader import Run, read_run
from reasoner_rm.report.summary import Summary
from reasoner_rm.report.thumbnail_cache import ThumbnailCache
from reasoner_rm.utils.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"

REPORT = "report.html"

LIMIT = 5_000_000
"""Where a page with fewer rollouts is made, in bytes, the evaluated items aside: a browser opens it at once."""

GROUPS = (39, 18, 9, 3)
"""How many groups of rollouts to show: the first number that keeps the page below its limit."""


def write_report(run: str | Path) -> Path:
    """Write `report.html` into a run directory, finished or not; its path.

    Raises:
        InputError: the directory holds nothing of a run.
    """
    return write_page(compose(Path(run)), Path(run))


def compose(run: Path) -> str:
    """The page of a run directory.

    Raises:
        InputError: the directory holds nothing of a run.
    """
    album, browser = ThumbnailCache(), None
    for groups in GROUPS:
        found = read_run(run, groups=groups)
        browser = browser or browse(found.evaluations, album)
        page = render(found, album, browser)
        if len(page.encode()) - len(browser.json) < LIMIT:
            break
    return page


def write_page(page: str, run: Path) -> Path:
    """Write a page down as a run's report; its path. Whoever reads the file meanwhile finds the old one or this."""
    out = run / REPORT
    with atomic_write(out) as file:
        file.write(page)
    return out


def render(run: Run, album: ThumbnailCache, browser: Browser) -> str:
    """The page as text. Everything in it that came from a model or from data is escaped."""
    components = component_names(run)
    colours = component_colours(components)
    rollouts = [rollout for chapter in run.sections for rollout in chapter]
    completions = [completion for rollout in rollouts for completion in rollout.completions]
    pictures = {rollout.sample.id: album.show(rollout.sample) for rollout in rollouts}
    script = asset("report.js") + asset("browser.js")
    summary = run.summary or Summary()
    page = environment().get_template("report.html.jinja").render(
        run=run,
        rollouts=rollouts,
        completions=completions,
        summary=summary,
        headline=headline(run.summary),
        intro=intro(run.summary) if run.summary else "",
        remarks=remarks(run.summary),
        stops=stops(run, components),
        stages=stages_of(run),
        accuracy=accuracy_plot(summary),
        columns=columns(summary),
        reliability=reliability_plots(summary),
        kinds=kind_plots(summary),
        main_plots=main_plots(run, colours),
        others=others(run),
        colours=colours,
        scales=bar_scales(completions),
        counts=Counter(kind for completion in completions for kind in completion.kinds),
        pictures=pictures,
        missing=album.missing,
        browser=browser,
        stage_names={stage: words.stage_name(stage) for stage in browser.stages},
        style=asset("report.css") + asset("browser.css"),
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
        words.data_name, words.duration, words.figure, words.memory, words.percent, words.signed, words.format_int,
        words.split_name, words.stage_name, words.measure, words.artifact_name, words.capital, words.clip, shlex.quote,
        meaning,
    )}  # fmt: skip
    return environment


def asset(name: str) -> Markup:
    """A style sheet or script of the templates' folder, to stand in a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
