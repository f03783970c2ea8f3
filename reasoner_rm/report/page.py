"""The report page of a run: its contents rendered into one HTML file."""

from __future__ import annotations

import base64
import functools
import hashlib
import shlex
from collections import Counter
from pathlib import Path

import jinja2
from markupsafe import Markup

from reasoner_rm.report.charts import accuracy_plot, reliability_plots, subgroup_plots
from reasoner_rm.report.columns import columns, metric_definition
from reasoner_rm.report.conclusions import headline, remarks
from reasoner_rm.report.curves import component_colours, component_names, main_plots, other_plots
from reasoner_rm.report.formatting import (
    artifact_name,
    capitalize_first,
    clip,
    data_name,
    duration,
    format_int,
    format_number,
    memory,
    metric_name,
    percent,
    signed,
    split_name,
    stage_name,
)
from reasoner_rm.report.item_browser import Browser, browse
from reasoner_rm.report.media import ThumbnailCache
from reasoner_rm.report.overview import intro, stage_summaries, stages_of
from reasoner_rm.report.rollouts import bar_scales
from reasoner_rm.report.run_reader import Run, read_run
from reasoner_rm.report.summary import Summary
from reasoner_rm.utils.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"

REPORT = "report.html"

MAX_BYTES = 5_000_000
"""The size of a page without the data of its item browser; a larger one is composed again with fewer rollouts."""

FILTERS = (
    artifact_name, capitalize_first, clip, data_name, duration, format_int, format_number, memory, metric_definition,
    metric_name, percent, shlex.quote, signed, split_name, stage_name,
)  # fmt: skip
"""The functions that the templates use, by their names."""

ROLLOUT_GROUPS = (39, 18, 9, 3)
"""Numbers of rollout groups to try, until the page is below `MAX_BYTES`."""


def write_report(run: str | Path) -> Path:
    """Write `report.html` into a run directory, finished or not, and return its path.

    Raises:
        InputError: not a run directory.
    """
    return write_page(compose(Path(run)), Path(run))


def compose(run: Path) -> str:
    """The HTML of a run directory's report.

    Raises:
        InputError: not a run directory.
    """
    thumbnails, browser = ThumbnailCache(), None
    for groups in ROLLOUT_GROUPS:
        contents = read_run(run, groups=groups)
        browser = browser or browse(contents.evaluations, thumbnails)
        page = render(contents, thumbnails, browser)
        if len(page.encode()) - len(browser.json) < MAX_BYTES:
            break
    return page


def write_page(page: str, run: Path) -> Path:
    """Replace a run's report atomically and return its path."""
    out = run / REPORT
    with atomic_write(out) as file:
        file.write(page)
    return out


def render(run: Run, thumbnails: ThumbnailCache, browser: Browser) -> str:
    """The page as HTML. All text from models and data is escaped."""
    components = component_names(run)
    colours = component_colours(components)
    rollouts = [rollout for section in run.sections for rollout in section]
    completions = [completion for rollout in rollouts for completion in rollout.completions]
    pictures = {rollout.sample.id: thumbnails.render(rollout.sample) for rollout in rollouts}
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
        stage_summaries=stage_summaries(run, components),
        stages=stages_of(run),
        accuracy=accuracy_plot(summary),
        columns=columns(summary),
        reliability=reliability_plots(summary),
        subgroups=subgroup_plots(summary),
        main_plots=main_plots(run, colours),
        other_plots=other_plots(run),
        colours=colours,
        scales=bar_scales(completions),
        counts=Counter(flag for completion in completions for flag in completion.flags),
        pictures=pictures,
        missing=thumbnails.missing,
        browser=browser,
        stage_names={stage: stage_name(stage) for stage in browser.stages},
        style=asset("report.css") + asset("browser.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode()  # lone surrogates cannot be encoded


@functools.cache
def environment() -> jinja2.Environment:
    """The template environment: values are escaped, and a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    return environment


def asset(name: str) -> Markup:
    """A style sheet or script from the templates folder, not escaped."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
