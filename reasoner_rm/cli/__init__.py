"""The command line: `reasoner-rm VERB`. Verbs import heavy modules when they run, so that `--help` is fast.

Exit codes: 0 success, 1 failure, 2 invalid input (one line says what is wrong and what to do).
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import metadata
from typing import NoReturn

from reasoner_rm.cli import (
    data,
    doctor,
    evaluation,
    judge,
    pocket,
    release,
    rewards,
    serve,
    stages,
)
from reasoner_rm.cli.common import adder
from reasoner_rm.errors import InputError, RunInterrupted, ServiceError, StorageError
from reasoner_rm.utils.files import storage_errors

GROUPS = (pocket, stages, evaluation, judge, serve, release, rewards, data, doctor)
"""Modules with ``add_verbs``, in the order of `--help`."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run a verb and exit."""
    args = _parser().parse_args(argv)
    try:
        with storage_errors():
            args.run(args)
        with storage_errors("standard output"):
            sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (ServiceError, StorageError) as error:
        print(f"error: {error}", file=sys.stderr)
        _flush_output()
        sys.exit(1)
    except RunInterrupted as interrupted:
        print(f"{interrupted}; continue with --resume", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        _flush_output()
        sys.exit(1)
    sys.exit(0)


def _flush_output() -> None:
    """Flush standard output, and where that fails point it elsewhere: Python would flush it again at exit, and print a
    traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reasoner-rm", description="Vision-language models that reason before they judge."
    )
    parser.add_argument("--version", action="version", version=f"reasoner-rm {metadata.version('reasoner-rm')}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for group in GROUPS:
        group.add_verbs(adder(verbs))
    return parser
