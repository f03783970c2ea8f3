"""Which prompt a judge is asked with: the one it was trained on, or the protocol's."""

from __future__ import annotations

from collections.abc import Callable

from reasoner_rm.evaluation.benchmark import Benchmark, load_prompt
from reasoner_rm.evaluation.protocol import Protocol
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import Template, load_template


def prompts(protocol: Protocol, own: Template | None = None) -> Callable[[Sample], Template]:
    """The template of each sample: the judge's own; else the item's (``meta.prompt``), the protocol's, the task's."""

    def template(sample: Sample) -> Template:
        if own is not None:
            return own
        name = str(sample.meta.get("prompt") or protocol.template)
        return load_prompt(name) if name else load_template(sample.task)

    return template


def grader_prompts(benchmark: Benchmark) -> Callable[[Sample], Template]:
    """The template of each sample for the grader: ``meta.prompt``."""
    return lambda sample: load_prompt(str(sample.meta["prompt"]))
