"""The verb `reward`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from reasoner_rm.cli.common import Add, libraries_to_stderr, read_text
from reasoner_rm.errors import InputError
from reasoner_rm.utils.parse_files import read_json


def add_verbs(verb: Add) -> None:
    reward = verb("reward", _reward, "score one completion with a reward, and print how it was parsed")
    reward.add_argument("name", nargs="?", help="a component, a preset, or path/to/file.py:function")
    reward.add_argument("--list", action="store_true", help="list rewards and presets, with ranges and sources")
    reward.add_argument("--sample", type=Path, help="a JSON file with one sample")
    reward.add_argument("--completion", help="a text file, or - for standard input")
    reward.add_argument(
        "--param", dest="params", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the reward"
    )
    reward.add_argument("--json", action="store_true", help="print one JSON object")


def _reward(args: argparse.Namespace) -> None:
    from reasoner_rm.rewards.explain import explain, list_rewards

    if args.list:
        print("\n".join(list_rewards()))
        return
    if not (args.name and args.sample and args.completion):
        raise InputError("reward needs NAME, --sample and --completion", remedy="see reward --list")
    text = sys.stdin.read() if args.completion == "-" else read_text(Path(args.completion))
    row = read_json(args.sample, remedy="give a sample as one JSON object")
    with libraries_to_stderr():
        breakdown = explain(args.name, text, row, params=dict(map(_assignment, args.params)))
    print(json.dumps(breakdown.as_json(), ensure_ascii=False) if args.json else "\n".join(breakdown.lines()))


def _assignment(text: str) -> tuple[str, Any]:
    import yaml

    name, sign, value = text.partition("=")
    if not (name and sign):
        raise InputError(f"--param {text!r} is not of the form name=value")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--param {text!r}: the value is not valid YAML") from None
