"""What several verbs need."""

from __future__ import annotations

import argparse
import contextlib
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from reasoner_rm.errors import InputError

Add: TypeAlias = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
"""Adds a verb, or an action of one: its name, what it runs, and what it is for, in a line."""


def adder(group: Any, attribute: str = "run") -> Add:
    """How verbs are added to a group of subparsers; ``attribute`` of the parsed arguments is what they run."""

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(**{attribute: run})
        return sub

    return add


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`--set a.b=c`, any number of times."""
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="override a setting"
    )


def within(args: argparse.Namespace, low: float, high: float, *names: str) -> None:
    """Whether these arguments, where they are given, lie from ``low`` to ``high``.

    Raises:
        InputError: the first that does not.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            bounds = f"from {low:g}" + (f" to {high:g}" if high < math.inf else "")
            raise InputError(f"--{name.replace('_', '-')} is {value:g}", remedy=f"give a number {bounds}")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine` and, for a server, `--url`."""
    parser.add_argument(
        "--engine", default="auto", metavar="ENGINE", help="auto, transformers, vllm or http (default: auto)"
    )
    parser.add_argument(
        "--url", help="with --engine http: an OpenAI-compatible server, up to and including /v1; replicas with commas"
    )


def libraries_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Standard output is the verb's own: DeepSpeed, for one, announces itself there when it is imported."""
    return contextlib.redirect_stdout(sys.stderr)


def read_text(file: Path) -> str:
    """A text file, UTF-8.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it ({error})", file=file) from None


def headline(summary: dict[str, Any]) -> str:
    """A run in a line: what was measured after each stage, and what a blind model reaches."""
    from reasoner_rm.report.formatting import metric_name

    parts = []
    for stage, splits in summary.get("stages", {}).items():
        figures = splits.get("heldout", {})
        low, high = figures.get("accuracy_interval") or (float("nan"),) * 2
        parts.append(f"{stage} {figures.get('accuracy', float('nan')):.1%} [{low:.1%}, {high:.1%}]")
    blind = summary.get("blind", {}).get("accuracy")
    line = f"held-out {metric_name(summary.get('task', ''))}: " + " → ".join(parts)
    return line if blind is None else f"{line}; blind {blind:.1%}"


def command() -> str:
    """What was typed, for the card of what it makes."""
    return shlex.join(["reasoner-rm", *sys.argv[1:]])


def write_set(args: argparse.Namespace, samples: Any, by: str, inputs: Sequence[Path], **options: Any) -> None:
    """Write samples to ``args.out``, note it on its folder's card, and say what was kept and why the rest was not."""
    from reasoner_rm.data.jsonl_ops import write

    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    made = write(args.out, samples, by=by, inputs=inputs, options=chosen, command=command(), overwrite=args.overwrite)
    print(f"kept: {made.kept} samples, {args.out}")
    for reason, n in sorted(made.dropped.items(), key=lambda item: -item[1]):
        print(f"dropped: {n}, {reason}")
