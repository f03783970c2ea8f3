"""The verb `pocket`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_overrides, libraries_to_stderr, summary_line


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
    from reasoner_rm.pipeline.pocket import pocket

    with libraries_to_stderr():
        path = pocket(args.world, args.task, args.out, args.seed, args.quick, tuple(args.overrides))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    print(summary_line(summary))
    print(f"report: {path / 'report.html'}")
    if args.task == "preference":
        caption = {"digits": "a handwritten 7"}.get(args.world, "a red circle")
        print(f'judge:  {_program()} judge --model {path} --caption "{caption}" A.png B.png')


def _program() -> str:
    """The command that starts this program: its name if it is on the PATH, else its relative path."""
    return (
        "reasoner-rm" if shutil.which("reasoner-rm") else os.path.relpath(Path(sys.executable).with_name("reasoner-rm"))
    )
