"""The prompt that a judge is asked with: the one it was trained on, or the protocol's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template, load_template

TEMPLATES = Path(__file__).parent / "templates"


def load_prompt(name: str) -> Template:
    """A protocol's own prompt."""
    return Template(name, (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8").strip())


def prompts(protocol: Protocol, own: Template | None = None) -> Callable[[Sample], Template]:
    """The template of each sample: the judge's own; else the item's (``meta.prompt``), the protocol's, the task's."""

    def template(sample: Sample) -> Template:
        if own is not None:
            return own
        name = str(sample.meta.get("prompt") or protocol.template)
        return load_prompt(name) if name else load_template(sample.task)

    return template


def grader_prompt(sample: Sample) -> Template:
    """The template of a sample for a grader: ``meta.prompt``."""
    return load_prompt(str(sample.meta["prompt"]))
