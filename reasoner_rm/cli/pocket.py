"""The verb `pocket`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_overrides, headline, libraries_to_stderr


def add_verbs(verb: Add) -> None:
    pocket = verb(
        "pocket",
        _pocket,
        "the whole loop on a small world, on a laptop: cold start, rejection sampling, GRPO, evaluation, report",
    )
    pocket.add_argument("--world", default="shapes", help="shapes or digits (default: shapes)")
    pocket.add_argument(
        "--task",
        default="preference",
        help="preference; in the world of shapes also caption_critic, detection or qa (default: preference)",
    )
    pocket.add_argument("--out", type=Path, help="run directory (default: the next free runs/pocket-WORLD-TASK-N)")
    pocket.add_argument("--seed", type=int, default=0)
    pocket.add_argument("--quick", action="store_true", help="a few minutes, to see that everything works")
    add_overrides(pocket)


def _pocket(args: argparse.Namespace) -> None:
    from reasoner_rm.pipeline.pocket import pocket

    with libraries_to_stderr():
        path = pocket(args.world, args.task, args.out, args.seed, args.quick, tuple(args.overrides))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    print(headline(summary))
    print(f"report: {path / 'report.html'}")
    if args.task == "preference":
        caption = {"digits": "a handwritten 7"}.get(args.world, "a red circle")
        print(f'judge:  {_me()} judge --model {path} --caption "{caption}" A.png B.png')


def _me() -> str:
    """How to call this program from here: by its name where the shell finds it, else by its path."""
    found = shutil.which("reasoner-rm")
    return "reasoner-rm" if found else os.path.relpath(Path(sys.executable).with_name("reasoner-rm"))
