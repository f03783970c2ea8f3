"""The verb `pocket`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_overrides, libraries_to_stderr, summary_line
from reasoner_rm.schema import Sample


def add_verbs(verb: Add) -> None:
    pocket = verb(
        "pocket",
        _pocket,
        "train and evaluate a tiny judge on synthetic images, on a CPU: cold start, rejection sampling, GRPO, report",
    )
    pocket.add_argument("--world", default="shapes", help="shapes or digits (default: shapes)")
    pocket.add_argument(
        "--task",
        default="preference",
        help="preference; with --world shapes also caption_critic, detection or qa (default: preference)",
    )
    pocket.add_argument("--out", type=Path, help="run directory (default: the next free runs/pocket-WORLD-TASK-N)")
    pocket.add_argument("--seed", type=int, default=0)
    pocket.add_argument("--quick", action="store_true", help="a short run of all stages (a few minutes)")
    add_overrides(pocket)


def _pocket(args: argparse.Namespace) -> None:
    from reasoner_rm.data.io import load_samples
    from reasoner_rm.pipeline.pocket import pocket
    from reasoner_rm.training.run_dir import RunDir

    with libraries_to_stderr():
        path = pocket(args.world, args.task, args.out, args.seed, args.quick, tuple(args.overrides))
    summary = RunDir(path).summary()
    print(summary_line(summary))
    print(f"report: {path / 'report.html'}")
    if args.task == "preference":
        first = load_samples(path / "data" / "heldout.jsonl")[0]  # drawings that the judge has not seen, in its world
        print(f"judge:  {shlex.join([*_program(), 'judge', '--model', str(path), *_question(first)])}")


def _question(sample: Sample) -> list[str]:
    """A comparison as the arguments of `judge`."""
    return ["--caption", sample.prompt, *(os.path.relpath(str(image)) for image in sample.images)]


def _program() -> list[str]:
    """The command that starts this program: its name if it is on the PATH, else its relative path."""
    found = shutil.which("reasoner-rm")
    return ["reasoner-rm" if found else os.path.relpath(Path(sys.executable).with_name("reasoner-rm"))]
