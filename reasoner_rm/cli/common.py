"""Functions that several verbs share: arguments, checks, output."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.judge import Judge

Add: TypeAlias = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
"""Adds a verb, or an action of a verb: name, function, one line of help."""


def adder(group: Any, attribute: str = "run") -> Add:
    """A function that adds verbs to a group of subparsers; the parsed arguments hold the verb's function as
    ``attribute``."""

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(**{attribute: run})
        return sub

    return add


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """`--set a.b=c`, repeatable."""
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="override a setting"
    )


def check_range(args: argparse.Namespace, low: float, high: float, *names: str) -> None:
    """Check that these arguments, where given, are between ``low`` and ``high``.

    Raises:
        InputError: one is not.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            bounds = f"from {low:g}" + (f" to {high:g}" if high < math.inf else "")
            raise InputError(f"--{name.replace('_', '-')} is {value:g}", remedy=f"give a number {bounds}")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine` and, for a server, `--url`; `--dtype` of a model that is loaded here."""
    parser.add_argument(
        "--engine", default="auto", metavar="ENGINE", help="auto, transformers, vllm or http (default: auto)"
    )
    parser.add_argument(
        "--url",
        help="with --engine http: an OpenAI-compatible server, up to and including /v1; replicas separated by commas",
    )
    add_dtype(parser)


def add_dtype(parser: Any) -> None:
    """`--dtype`."""
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="precision of the weights (default: the checkpoint's)",
    )


def add_max_pixels(parser: Any) -> None:
    """`--max-pixels` of the images that a judge sees."""
    parser.add_argument("--max-pixels", type=int, metavar="N", help="shrink images to N pixels (default: the judge's)")


def check_model_options(args: argparse.Namespace, max_pixels: int | None) -> None:
    """Check `--dtype` and the most pixels that a judge sees.

    Raises:
        InputError: no pixels, or a model on a server, which has its own settings.
    """
    check_range(args, 1, math.inf, "max_pixels")
    if (args.url or args.engine == "http") and (args.dtype != "auto" or max_pixels is not None):
        raise InputError("--dtype and --max-pixels are of a model that is loaded here", remedy="set them on the server")


def load_judge(args: argparse.Namespace, *, max_pixels: int | None = None, **settings: Any) -> Judge:
    """The judge that a verb's `--model`, `--engine`, `--url`, `--dtype` and `--max-tokens` name.

    Args:
        max_pixels, settings: of `Judge.from_pretrained`.

    Raises:
        InputError: as there, and as `check_model_options`.
    """
    from reasoner_rm.judge import Judge

    check_model_options(args, max_pixels)
    return Judge.from_pretrained(
        args.model,
        args.engine,
        url=args.url,
        dtype=args.dtype,
        max_tokens=args.max_tokens,
        max_pixels=max_pixels,
        **settings,
    )


LIBRARY_LINES = {
    "DeepSpeed": "Setting accelerator to CPU",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
}
"""Warnings of libraries on machines without a GPU, by logger, which no user can act on."""


def libraries_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Redirect what libraries print to standard error, less `LIBRARY_LINES`: DeepSpeed prints when it is imported."""
    _silence_library_lines()
    return contextlib.redirect_stdout(sys.stderr)


@functools.cache
def _silence_library_lines() -> None:
    for name, start in LIBRARY_LINES.items():
        logging.getLogger(name).addFilter(functools.partial(_is_other, start))


def _is_other(start: str, record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(start)


def read_text(file: Path) -> str:
    """A text file, UTF-8.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the file ({error})", file=file) from None


def summary_line(summary: dict[str, Any]) -> str:
    """One line: the held-out metric after each stage with its interval, and the blind baseline."""
    from reasoner_rm.report.formatting import metric_name

    parts = []
    for stage, splits in summary.get("stages", {}).items():
        metrics = splits.get("heldout", {})
        low, high = metrics.get("accuracy_interval") or (float("nan"),) * 2
        parts.append(f"{stage} {metrics.get('accuracy', float('nan')):.1%} [{low:.1%}, {high:.1%}]")
    blind = summary.get("blind", {}).get("accuracy")
    line = f"held-out {metric_name(summary.get('task', ''))}: " + " → ".join(parts)
    return line if blind is None else f"{line}; blind {blind:.1%}"


def command() -> str:
    """The command line as typed, for the dataset card."""
    return shlex.join(["reasoner-rm", *sys.argv[1:]])


def write_set(args: argparse.Namespace, samples: Any, by: str, inputs: Sequence[Path], **options: Any) -> None:
    """Write samples to ``args.out``, add an entry to the dataset card, and print what was kept and dropped."""
    from reasoner_rm.data.jsonl_ops import write

    values = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    written = write(
        args.out, samples, by=by, inputs=inputs, options=values, command=command(), overwrite=args.overwrite
    )
    print(f"kept: {written.kept} samples, {args.out}")
    for reason, n in sorted(written.dropped.items(), key=lambda item: -item[1]):
        print(f"dropped: {n}, {reason}")
