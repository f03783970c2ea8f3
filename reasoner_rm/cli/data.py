"""The verb `data`: build, validate, show, mix, dedup, decontaminate, filter datasets. Actions import what they need."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.cli import dataset_ops, distill
from reasoner_rm.cli.common import Add, adder, check_range
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.data.build import Built
    from reasoner_rm.data.recipe import Recipe

WORLDS = {
    "pocket": "coloured shapes on paper, drawn by seed, for every task",
    "digits": "scanned handwritten digits (scikit-learn): image_preference, pointwise, qa",
    "pairs": "your own pairs: a CSV or JSONL with image_a, image_b, prompt, preferred, or a folder with one",
}
"""Recipes that draw their own world, or split by shared images and so read all rows first."""


def add_verbs(verb: Add) -> None:
    data = verb("data", _act, "build, look at, check and combine datasets")
    action = adder(data.add_subparsers(title="actions", metavar="ACTION", required=True), "act")
    action("list", _list, "the recipes")
    build = action("build", _build, "build a dataset from a recipe; `data build NAME --help` shows its options")
    build.add_argument("recipe", metavar="NAME", help="one of `data list`")
    build.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="the recipe's options")

    show = action("show", _show, "look at samples, here or as a page")
    show.add_argument("file", type=Path, metavar="FILE.jsonl")
    show.add_argument("--html", type=Path, metavar="OUT.html", help="write a self-contained page instead")
    show.add_argument("--limit", type=int, metavar="N", help="how many samples (default: 10 here, 60 on a page)")

    dataset_ops.add_actions(action)
    distill.add_actions(action)


def _act(args: argparse.Namespace) -> None:
    """Do what was asked."""
    args.act(args)


def _list(args: argparse.Namespace) -> None:
    from data_recipes import RECIPES, get_recipe

    for name, title in WORLDS.items():
        print(f"{name:17} {title}")
    for name in RECIPES:
        recipe = get_recipe(name)
        print(f"{name:17} {recipe.title}" + (f" [{recipe.licence}]" if recipe.licence else ""))


def _build(args: argparse.Namespace) -> None:
    command = shlex.join(["reasoner-rm", "data", "build", args.recipe, *args.rest])
    if args.recipe in WORLDS:
        {"pocket": _pocket, "digits": _digits, "pairs": _pairs}[args.recipe](args.rest, command)
        return
    from data_recipes import RECIPES, get_recipe
    from reasoner_rm.utils.user_code import is_in_file

    if args.recipe not in RECIPES and not is_in_file(args.recipe):
        import difflib

        near = difflib.get_close_matches(args.recipe, (*WORLDS, *RECIPES), 1)
        hint = f"did you mean {near[0]!r}?" if near else "`reasoner-rm data list` names them"
        raise InputError(f"unknown recipe {args.recipe!r}", remedy=hint)
    recipe = get_recipe(args.recipe)
    given = _recipe_parser(recipe).parse_args(args.rest)
    _built(recipe, given, command)


def _built(recipe: Recipe, given: argparse.Namespace, command: str) -> None:
    from reasoner_rm.data.build import Settings, build

    if given.data is None:
        hint = f", or the hub id {recipe.hub}" if recipe.hub else ""
        raise InputError(f"{recipe.name} needs --data", remedy=f"name its file or folder{hint}")
    chosen = {f.name: getattr(given, f.name) for f in dataclasses.fields(recipe.options)}
    names = {f.name for f in dataclasses.fields(Settings)} - {"part"}
    settings = Settings(**{name: getattr(given, name) for name in names})
    made = build(recipe, given.data, given.out, settings, recipe.chosen(**chosen), command)
    for line in _account(made, given.out):
        print(line)


def _account(made: Built, out: Path) -> list[str]:
    """What was built, in lines: files with counts, then what was not used and why."""
    lines = []
    for name, files in made.files.items():
        shards = f" and {len(files) - 1} more" if len(files) > 1 else ""
        lines.append(f"{name}: {made.counts.samples[name]} samples, {files[0]}{shards}")
    counts = made.counts
    lines.append(f"rows read: {counts.rows}, bad: {counts.bad}" + (f"; first: {counts.first_bad}" * bool(counts.bad)))
    lines += [f"left out: {n} rows, {reason}" for reason, n in counts.left_out.most_common()]
    lines.append(f"card: {out / 'README.md'}")
    return lines


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"reasoner-rm data build {name}",
        description=text,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, default=argparse.SUPPRESS, help="folder for the JSONL files")
    parser.add_argument("--seed", type=int, default=0, help="draws the order of candidates and who is held out")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier build")
    return parser


def _recipe_parser(recipe: Recipe) -> argparse.ArgumentParser:
    parser = _parser(recipe.name, recipe.title + (f"; {recipe.note}" if recipe.note else "") + ".")
    add = parser.add_argument
    hub = f"its hub id {recipe.hub}" if recipe.hub else "a hub id"
    add("--data", help=f"the dataset's file or folder, or {hub}")
    add("--split", default=recipe.splits[0], help=f"the dataset's own split: {', '.join(recipe.splits)}")
    add("--config", help="configuration of a hub dataset")
    add("--n", type=int, help="stop after so many rows")
    add("--heldout", type=float, default=0.0, help="share of prompts, whole, that go to heldout.jsonl")
    add("--skip-bad", action="store_true", help="leave bad rows out, count them, and list them in SPLIT.skipped.txt")
    add("--shards", action="store_true", help="leave the output in files of 20,000 source rows")
    add("--images", type=Path, help="folder that relative image paths are taken from (default: the data's own)")
    add("--remote", action="store_true", help="fetch images that are given as addresses; never from private networks")
    add("--decode", action="store_true", help="open every image, so that a broken one is a bad row")
    for spec in dataclasses.fields(recipe.options):
        add(f"--{spec.name.replace('_', '-')}", **_argument(spec))
    return parser


def _argument(spec: dataclasses.Field[Any]) -> dict[str, Any]:
    """How a recipe's option is read from the shell, by its type."""
    shared = {"default": spec.default, "help": spec.metadata["help"]}
    if isinstance(spec.default, bool):
        return {**shared, "action": argparse.BooleanOptionalAction}
    kind = Path if "Path" in str(spec.type) else type(spec.default)
    return {**shared, "type": kind, "choices": spec.metadata.get("choices")}


def _pairs(rest: list[str], command: str) -> None:
    from data_recipes import pairs

    parser = _parser("pairs", WORLDS["pairs"] + ".")
    parser.add_argument("--data", type=Path, help="the table, or a folder that holds it as pairs.*")
    parser.add_argument("--heldout", type=float, default=0.1, help="share of pairs held out, whole prompts and images")
    parser.add_argument("--n", type=int, help="stop after so many rows")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out and count them")
    given = parser.parse_args(rest)
    check_range(given, 1, math.inf, "n")
    if given.data is None:
        raise InputError("pairs needs --data", remedy="name your CSV, JSONL or folder")
    skipped: list[InputError] = []
    files = pairs.build(
        given.data, given.out, seed=given.seed, heldout=given.heldout, skip_bad=given.skip_bad, n=given.n,
        overwrite=given.overwrite, skipped=skipped,
    )  # fmt: skip
    _noted(files, given, command, "pairs", bad=len(skipped), data=str(given.data))
    if "heldout" in files:
        print("held out whole: pairs that share a prompt, a group or an image stay together (--heldout 0 keeps all)")
    for error in skipped:
        print(f"skipped: {error}", file=sys.stderr)


def _world_parser(name: str) -> argparse.ArgumentParser:
    parser = _parser(name, WORLDS[name] + ".")
    parser.add_argument("--task", default="image_preference", help="which task")
    parser.add_argument("--split", default="train", choices=("train", "heldout", "ood", "listener"), help="which split")
    parser.add_argument("--n", type=int, default=1000, help="how many samples")
    return parser


def _free(given: argparse.Namespace) -> None:
    """Refuse to replace an earlier build, and to make nothing."""
    check_range(given, 1, math.inf, "n")
    file = given.out / f"{given.split}-{given.task}.jsonl"
    if file.exists() and not given.overwrite:
        raise InputError("exists already", file=file, remedy="give another --out, or --overwrite")


def _pocket(rest: list[str], command: str) -> None:
    from data_recipes import pocket

    parser = _world_parser("pocket")
    parser.add_argument("--side", type=int, default=56, help="an image's side in pixels")
    parser.add_argument("--levels", default="1,2,3", help="difficulties to draw from")
    parser.add_argument("--voters", type=int, default=5, help="how many judge a pair")
    parser.add_argument("--noise", type=float, default=0.0, help="how unsure they are, 0 to 1")
    given = parser.parse_args(rest)
    levels = tuple(int(level) if level.strip().isdecimal() else 0 for level in given.levels.split(","))
    setting = pocket.Setting(side=given.side, levels=levels, voters=given.voters, noise=given.noise)  # type: ignore[arg-type]
    _free(given)
    file = pocket.build(given.out, given.split, given.task, given.n, given.seed, setting=setting)
    _noted({file.stem: file}, given, command, "pocket")


def _digits(rest: list[str], command: str) -> None:
    from data_recipes import digits

    given = _world_parser("digits").parse_args(rest)
    if given.task not in digits.MAKERS:
        raise InputError(f"digits has no task {given.task!r}", remedy=f"use {', '.join(digits.MAKERS)}")
    _free(given)
    file = digits.build(given.out, given.split, given.task, given.n, given.seed)
    _noted({file.stem: file}, given, command, "digits", licence="cc-by-4.0")


def _noted(
    files: dict[str, Path], given: argparse.Namespace, command: str, name: str, *, bad: int = 0, data: str = "",
    licence: str = "",
) -> None:  # fmt: skip
    """Print the files with their counts and note them on the folder's card."""
    from reasoner_rm.data.dataset_card import Entry, add_entry

    licence = licence or ("apache-2.0" if name == "pocket" else "")
    for side, file in files.items():
        with file.open("rb") as lines:
            count = sum(1 for _ in lines)
        counts = {"samples": {side: count}, **({"bad": bad} if bad else {})}
        entry = Entry(
            name, WORLDS[name], data, licence=licence, seed=given.seed, command=command, counts=counts
        )  # fmt: skip
        add_entry(given.out, file.name, entry)
        print(f"{side}: {count} samples, {file}")


def _show(args: argparse.Namespace) -> None:
    from reasoner_rm.data.io import load_samples
    from reasoner_rm.data.sample_view import in_text

    check_range(args, 1, math.inf, "limit")
    if args.file.is_file() and args.file.suffix.lower() not in (".jsonl", ".json", ""):
        remedy = "build samples from it first: reasoner-rm data build pairs (or mapped) --data FILE --out DIR"
        raise InputError("this is a table, not a JSONL of samples", file=args.file, remedy=remedy)
    samples = load_samples(args.file, check=False)  # what does not fit its task is worth looking at too
    if args.html is not None:
        from reasoner_rm.report.samples import write_samples_page

        print(write_samples_page(samples[: args.limit or 60], len(samples), args.file, args.html))
        return
    shown = samples[: args.limit or 10]
    print("\n\n".join(map(in_text, shown)))
    if len(shown) < len(samples):
        print(f"\n{len(shown)} of {len(samples)} samples; --limit N shows more, --html OUT.html makes a page of them")
