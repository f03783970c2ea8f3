"""The verb `data`: its actions list, build and show; those of `dataset_ops` and `distill` are added to them."""

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
    "pocket": "synthetic images of coloured shapes, for every task",
    "digits": "scanned handwritten digits (scikit-learn): image_preference, pointwise, qa",
    "pairs": "your own pairs: a CSV or JSONL with image_a, image_b, prompt, preferred, or a folder with one",
}
"""Recipes with code of their own: synthetic data, and pairs that are split by shared images."""


def add_verbs(verb: Add) -> None:
    data = verb("data", _act, "build, show, validate and combine datasets")
    action = adder(data.add_subparsers(title="actions", metavar="ACTION", required=True), "act")
    action("list", _list, "list the recipes")
    build = action("build", _build, "build a dataset from a recipe; `data build NAME --help` shows its options")
    build.add_argument("recipe", metavar="NAME", help="one of `data list`")
    build.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="the recipe's options")

    show = action("show", _show, "show samples in the terminal or as an HTML page")
    show.add_argument("file", type=Path, metavar="FILE.jsonl")
    show.add_argument("--html", type=Path, metavar="OUT.html", help="write a self-contained HTML page instead")
    show.add_argument("--limit", type=int, metavar="N", help="number of samples (default: 10, on a page 60)")

    dataset_ops.add_actions(action)
    distill.add_actions(action)


def _act(args: argparse.Namespace) -> None:
    """Run the chosen action."""
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
        hint = f"did you mean {near[0]!r}?" if near else "see `reasoner-rm data list`"
        raise InputError(f"unknown recipe {args.recipe!r}", remedy=hint)
    recipe = get_recipe(args.recipe)
    _build_recipe(recipe, _recipe_parser(recipe).parse_args(args.rest), command)


def _build_recipe(recipe: Recipe, given: argparse.Namespace, command: str) -> None:
    from reasoner_rm.data.build import Settings, build

    if given.data is None:
        hint = f", or the hub id {recipe.hub}" if recipe.hub else ""
        raise InputError(f"{recipe.name} needs --data", remedy=f"give its file or folder{hint}")
    options = {f.name: getattr(given, f.name) for f in dataclasses.fields(recipe.options)}
    names = {f.name for f in dataclasses.fields(Settings)} - {"part"}
    settings = Settings(**{name: getattr(given, name) for name in names})
    built = build(recipe, given.data, given.out, settings, recipe.chosen(**options), command)
    for line in _summary(built, given.out):
        print(line)


def _summary(built: Built, out: Path) -> list[str]:
    """A build as text lines: files with counts, then the rows left out by reason."""
    lines = []
    for name, files in built.files.items():
        shards = f" and {len(files) - 1} more" if len(files) > 1 else ""
        lines.append(f"{name}: {built.counts.samples[name]} samples, {files[0]}{shards}")
    counts = built.counts
    lines.append(f"rows read: {counts.rows}, bad: {counts.bad}" + (f"; first: {counts.first_bad}" * bool(counts.bad)))
    if counts.fixed_order:
        lines.append(f"in the source's order: {counts.fixed_order} samples, whose target cannot be relabelled")
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
    parser.add_argument("--seed", type=int, default=0, help="seed of the candidate order and of the held-out split")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier build")
    return parser


def _recipe_parser(recipe: Recipe) -> argparse.ArgumentParser:
    parser = _parser(recipe.name, recipe.title + (f"; {recipe.note}" if recipe.note else "") + ".")
    add = parser.add_argument
    hub = f"its hub id {recipe.hub}" if recipe.hub else "a hub id"
    add("--data", help=f"the dataset's file or folder, or {hub}")
    add("--split", default=recipe.splits[0], help=f"the dataset's own split: {', '.join(recipe.splits)}")
    add("--config", help="configuration name of a hub dataset")
    add("--n", type=int, help="read at most N rows", metavar="N")
    add("--heldout", type=float, default=0.0, help="share of prompts that go to heldout.jsonl")
    add("--skip-bad", action="store_true", help="leave bad rows out, count them, and list them in SPLIT.skipped.txt")
    add("--shards", action="store_true", help="keep the output in files of 20,000 source rows")
    add("--images", type=Path, help="folder of relative image paths (default: the data's own)")
    add("--remote", action="store_true", help="fetch images that are given as URLs, except from private networks")
    add("--decode", action="store_true", help="decode every image; a broken one is a bad row")
    for spec in dataclasses.fields(recipe.options):
        add(f"--{spec.name.replace('_', '-')}", **_argument(spec))
    return parser


def _argument(spec: dataclasses.Field[Any]) -> dict[str, Any]:
    """The argparse keywords of a recipe's option, by its type."""
    shared = {"default": spec.default, "help": spec.metadata["help"]}
    if isinstance(spec.default, bool):
        return {**shared, "action": argparse.BooleanOptionalAction}
    kind = Path if "Path" in str(spec.type) else type(spec.default)
    return {**shared, "type": kind, "choices": spec.metadata.get("choices")}


def _pairs(rest: list[str], command: str) -> None:
    from data_recipes import pairs
    from reasoner_rm.data.build import SKIPPED

    parser = _parser("pairs", WORLDS["pairs"] + ".")
    parser.add_argument("--data", type=Path, help="the table, or a folder with a file pairs.*")
    parser.add_argument(
        "--heldout",
        type=float,
        default=0.1,
        help="share of pairs held out; pairs that share a prompt or image stay together",
    )
    parser.add_argument("--n", type=int, help="read at most N rows", metavar="N")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out, count them, and list them in train.skipped.txt"
    )
    given = parser.parse_args(rest)
    check_range(given, 1, math.inf, "n")
    if given.data is None:
        raise InputError("pairs needs --data", remedy="give a CSV, a JSONL or a folder")
    skipped: list[InputError] = []
    files = pairs.build(
        given.data, given.out, seed=given.seed, heldout=given.heldout, skip_bad=given.skip_bad, n=given.n,
        overwrite=given.overwrite, skipped=skipped,
    )  # fmt: skip
    _add_to_card(files, given, command, "pairs", bad=len(skipped), data=str(given.data))
    if "heldout" in files:
        print("pairs that share a prompt, a group or an image are in the same split (--heldout 0: no split)")
    if skipped:
        listed = given.out / f"train.{SKIPPED}"
        print(f"skipped: {len(skipped)} bad rows, listed in {listed}; first: {skipped[0]}", file=sys.stderr)


def _world_parser(name: str) -> argparse.ArgumentParser:
    parser = _parser(name, WORLDS[name] + ".")
    parser.add_argument("--task", default="image_preference", help="task of the samples")
    parser.add_argument(
        "--split", default="train", choices=("train", "heldout", "ood", "listener"), help="split to generate"
    )
    parser.add_argument("--n", type=int, default=1000, help="number of samples")
    return parser


def _check_output(given: argparse.Namespace) -> None:
    """Check that --n is positive and that the file does not exist."""
    check_range(given, 1, math.inf, "n")
    file = given.out / f"{given.split}-{given.task}.jsonl"
    if file.exists() and not given.overwrite:
        raise InputError("exists already", file=file, remedy="give another --out, or --overwrite")


def _pocket(rest: list[str], command: str) -> None:
    from data_recipes import pocket

    parser = _world_parser("pocket")
    parser.add_argument("--side", type=int, default=56, help="side of an image in pixels")
    parser.add_argument("--levels", default="1,2,3", help="difficulty levels")
    parser.add_argument("--voters", type=int, default=5, help="simulated voters per pair")
    parser.add_argument("--noise", type=float, default=0.0, help="noise of the voters, 0 to 1")
    given = parser.parse_args(rest)
    levels = tuple(int(level) if level.strip().isdecimal() else 0 for level in given.levels.split(","))
    setting = pocket.Setting(side=given.side, levels=levels, voters=given.voters, noise=given.noise)  # type: ignore[arg-type]
    _check_output(given)
    file = pocket.build(given.out, given.split, given.task, given.n, given.seed, setting=setting)
    _add_to_card({file.stem: file}, given, command, "pocket")


def _digits(rest: list[str], command: str) -> None:
    from data_recipes import digits

    given = _world_parser("digits").parse_args(rest)
    if given.task not in digits.MAKERS:
        raise InputError(f"digits has no task {given.task!r}", remedy=f"use {', '.join(digits.MAKERS)}")
    _check_output(given)
    file = digits.build(given.out, given.split, given.task, given.n, given.seed)
    _add_to_card({file.stem: file}, given, command, "digits", licence="cc-by-4.0")


def _add_to_card(
    files: dict[str, Path], given: argparse.Namespace, command: str, name: str, *, bad: int = 0, data: str = "",
    licence: str = "",
) -> None:  # fmt: skip
    """Add the files with their counts to the dataset card, and print them."""
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
        remedy = "build samples first: reasoner-rm data build pairs (or mapped) --data FILE --out DIR"
        raise InputError("this is a table, not a JSONL of samples", file=args.file, remedy=remedy)
    samples = load_samples(args.file, check=False)  # invalid samples are shown too
    if args.html is not None:
        from reasoner_rm.report.samples import write_samples_page

        print(write_samples_page(samples[: args.limit or 60], len(samples), args.file, args.html))
        return
    shown = samples[: args.limit or 10]
    print("\n\n".join(map(in_text, shown)))
    if len(shown) < len(samples):
        print(f"\n{len(shown)} of {len(samples)} samples; --limit N shows more, --html OUT.html writes a page")
