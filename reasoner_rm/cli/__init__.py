"""The command line: `reasoner-rm VERB`. Verbs import heavy modules when they run, so that `--help` is fast.

Exit codes: 0 success, 1 failure, 2 invalid input (one line says what is wrong and what to do).
"""

from __future__ import annotations

import argparse
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
from reasoner_rm.errors import InputError, RunInterrupted, ServiceError

GROUPS = (pocket, stages, evaluation, judge, serve, release, rewards, data, doctor)
"""Modules with ``add_verbs``, in the order of `--help`."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run a verb and exit."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except RunInterrupted as interrupted:
        print(f"{interrupted}; continue with --resume", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reasoner-rm", description="Vision-language models that reason before they judge."
    )
    parser.add_argument("--version", action="version", version=f"reasoner-rm {metadata.version('reasoner-rm')}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for group in GROUPS:
        group.add_verbs(adder(verbs))
    return parser
