"""Actions of `data` on built sets: validate, unpack, mix, dedup, decontaminate, filter."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.cli.shared import Add
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.data.streams import Written


def add_actions(action: Add) -> None:
    """Add them; ``action(name, run, text)`` makes a parser."""
    validate = action(
        "validate", _validate, "check every row and image of a JSONL of samples; exit code 2 if training would fail"
    )
    validate.add_argument("file", type=Path, metavar="FILE.jsonl")
    validate.add_argument("--model", help="also count tokens with this model's processor: a checkpoint, run or hub id")
    validate.add_argument("--template", default="default", help="prompt template to count with (default: default)")
    validate.add_argument("--min-pixels", type=int, help="as in training (default: the processor's own)")
    validate.add_argument("--max-pixels", type=int, help="as in training (default: the processor's own)")
    validate.add_argument(
        "--max-tokens", type=int, help="longer rows are errors (default: what the model was made for)"
    )
    validate.add_argument("--html", type=Path, metavar="OUT.html", help="write a page with histograms and pictures")
    validate.add_argument("--workers", type=int, help="threads (default: one for each core)")
    validate.add_argument("--json", action="store_true", help="print one JSON object")

    unpack = action("unpack", _unpack, "unpack a tarball, also a split one, safely")
    unpack.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE", help="the tarball, or all its parts")
    unpack.add_argument("--out", type=Path, required=True, help="folder to unpack into")

    pack = action("pack", _pack, "images into a few parquet shards, beside a copy of the samples that points there")
    pack.add_argument("file", type=Path)
    pack.add_argument("--out", type=Path, required=True, help="folder for the samples and the shards")
    pack.add_argument("--per-shard", type=int, default=2000, help="samples in a shard (default: 2000)")
    pack.add_argument("--overwrite", action="store_true", help="replace an earlier packing")

    mix = action("mix", _mix, "several sets as one, by weight")
    mix.add_argument("parts", nargs="+", metavar="FILE[=WEIGHT]")
    mix.add_argument("--n", type=int, help="samples in the mix (default: as many as the weights allow)")
    mix.add_argument("--cap", type=int, help="at most so many of one file")
    mix.add_argument("--seed", type=int, default=0)

    dedup = action("dedup", _dedup, "drop samples that are there already, by prompt, answers and images")
    dedup.add_argument("file", type=Path)
    dedup.add_argument(
        "--by", choices=("both", "prompt", "images"), default="both", help="what must be the same (default: both)"
    )
    dedup.add_argument("--near", type=int, default=6, help="bits of 64 in which the same image may differ (default: 6)")
    dedup.add_argument("--exact", action="store_true", help="images are the same to the byte only")

    clean = action("decontaminate", _decontaminate, "drop samples whose image or text stands in a benchmark")
    clean.add_argument("file", type=Path)
    clean.add_argument(
        "--against",
        type=Path,
        nargs="+",
        required=True,
        metavar="BENCHMARK.jsonl",
        help="benchmarks as samples, built with `data build`",
    )
    clean.add_argument("--near", type=int, default=6, help="bits of 64 in which the same image may differ (default: 6)")

    sift = action("filter", _filter, "keep what is worth training on")
    sift.add_argument("file", type=Path)
    sift.add_argument("--min-margin", type=float, help="least |2·p_first − 1| of a preference, 0 to 1")
    sift.add_argument(
        "--max-length-ratio", type=float, help="how many times longer than the other the better answer may be"
    )
    sift.add_argument(
        "--at-least",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="lowest value of a field of meta or gold, such as confidence or judge_score",
    )
    sift.add_argument("--max-per-group", type=int, help="samples of one prompt")
    sift.add_argument("--min-new", type=float, help="share of a prompt's word runs that must be new, 0 to 1")
    sift.add_argument("--task", action="append", default=[], help="only this task (may be repeated)")

    distil = action(
        "distil", _distil, "reasoning for a cold start from a teacher endpoint, kept where its verdict is right"
    )
    distil.add_argument("file", type=Path)
    distil.add_argument("--template", default="default", help="prompt template, as in training (default: default)")
    inject = action("inject", _inject, "captions with one mistake put in by a language model endpoint")
    inject.add_argument("file", type=Path, help="a table with an image and a caption column")
    inject.add_argument("--image", default="image", help="column of the image (default: image)")
    inject.add_argument("--caption", default="caption", help="column of the caption (default: caption)")
    for parser in (distil, inject):
        parser.add_argument("--url", required=True, help="an OpenAI-compatible endpoint, up to and including /v1")
        parser.add_argument("--model", required=True, help="the model's name there")
        parser.add_argument("--tries", type=int, default=2, help="answers asked for until one is kept (default: 2)")
        parser.add_argument("--temperature", type=float, default=0.7, help="default: 0.7")
        parser.add_argument("--max-tokens", type=int, default=1024, help="default: 1024")
        parser.add_argument("--parallel", type=int, default=8, help="requests at a time (default: 8)")
        parser.add_argument("--prices", metavar="IN,OUT", default="0,0", help="dollars for a million tokens in and out")
        parser.add_argument("--budget", type=float, help="stop when so many dollars are spent")
        parser.add_argument("--seed", type=int, default=0)

    for parser in (mix, dedup, clean, sift, distil, inject):
        parser.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl")
        parser.add_argument("--overwrite", action="store_true", help="replace an earlier file")


def _validate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.validation import validate
    from reasoner_rm.data.validation_page import in_text, write_page

    lengths = None
    if args.model:
        from reasoner_rm.policy.counting import Counter

        lengths = Counter.of(args.model, args.template, args.min_pixels, args.max_pixels)
    report = validate(args.file, lengths=lengths, max_tokens=args.max_tokens, workers=args.workers)
    if args.html:
        write_page(report, args.html)
    if args.json:
        findings = {
            k: {"severity": f.severity, "count": f.count, "examples": f.examples} for k, f in report.findings.items()
        }
        print(json.dumps({"rows": report.rows, "images": report.images, "errors": report.errors, "tasks": report.tasks,
                          "facts": report.facts, "findings": findings}, ensure_ascii=False))  # fmt: skip
    else:
        print(in_text(report))
        print(f"page: {args.html}" if args.html else "--html OUT.html writes histograms and pictures")
    if report.errors:
        first = next(f.examples[0] for f in report.findings.values() if f.severity == "error")
        raise InputError(f"training would fail, {report.errors} errors; the first: {first}")


def _unpack(args: argparse.Namespace) -> None:
    from reasoner_rm.data.archives import unpack

    print(f"{unpack(args.archives, args.out)} files in {args.out}")


def _pack(args: argparse.Namespace) -> None:
    from reasoner_rm.data.shards import pack

    made = pack(args.file, args.out, per_shard=args.per_shard, command=_command(), overwrite=args.overwrite)
    shards = "1 shard" if made.shards == 1 else f"{made.shards} shards"
    print(f"packed: {made.samples} samples, {made.images} images in {shards}, {args.out / args.file.name}")


def _command() -> str:
    return shlex.join(["reasoner-rm", *sys.argv[1:]])


def _written(written: Written, out: Path) -> None:
    print(f"kept: {written.kept} samples, {out}")
    for reason, n in sorted(written.dropped.items(), key=lambda item: -item[1]):
        print(f"dropped: {n}, {reason}")


def _write(args: argparse.Namespace, samples: Any, by: str, inputs: Sequence[Path], **options: Any) -> None:
    from reasoner_rm.data.streams import write

    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    made = write(args.out, samples, by=by, inputs=inputs, options=chosen, command=_command(), overwrite=args.overwrite)
    _written(made, args.out)


def _mix(args: argparse.Namespace) -> None:
    from reasoner_rm.data.mixing import mix, parts_of

    parts = parts_of(args.parts)
    samples = mix(parts, args.n, args.cap, args.seed)
    _write(args, samples, "mix", [p.file for p in parts], seed=args.seed, n=args.n, cap=args.cap, parts=args.parts)


def _dedup(args: argparse.Namespace) -> None:
    from reasoner_rm.data.duplicates import dedup
    from reasoner_rm.data.streams import stream

    near = None if args.exact else args.near
    rows = (sample for _, sample in stream(args.file))
    samples = dedup(rows, near, args.by != "images", args.by != "prompt")
    _write(args, samples, "dedup", [args.file], by_what=args.by, near=near)


def _decontaminate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.duplicates import Benchmark, decontaminate
    from reasoner_rm.data.streams import stream

    benchmark = Benchmark(args.against, args.near)
    samples = decontaminate((sample for _, sample in stream(args.file)), benchmark)
    against = [str(file) for file in args.against]
    _write(args, samples, "decontaminate", [args.file], against=against, near=args.near)


def _filter(args: argparse.Namespace) -> None:
    from reasoner_rm.data.filtering import Rules, at_least_of, sift
    from reasoner_rm.data.streams import stream

    rules = Rules(
        args.min_margin,
        args.max_length_ratio,
        at_least_of(args.at_least),
        args.max_per_group,
        args.min_new,
        tuple(args.task),
    )
    if rules == Rules():
        raise InputError("nothing to filter by", remedy="give --min-margin, --max-length-ratio, --at-least, …")
    samples = sift((sample for _, sample in stream(args.file)), rules)
    _write(args, samples, "filter", [args.file], rules=str(rules))


def _teacher(args: argparse.Namespace) -> Any:
    from reasoner_rm.config import EndpointSection
    from reasoner_rm.data.endpoint import Endpoint
    from reasoner_rm.data.teacher import Teacher

    try:
        one, two = map(float, args.prices.split(","))
    except ValueError:
        raise InputError(f"--prices is {args.prices!r}", remedy="give IN,OUT in dollars, such as 2.5,10") from None
    if args.budget is not None and not (one or two):
        raise InputError("--budget needs --prices", remedy="say what a million tokens cost")
    section = EndpointSection(
        urls=(args.url,), model=args.model, input_price=one, output_price=two, budget=args.budget, timeout=120.0
    )
    return Teacher(Endpoint(section), args.temperature, args.max_tokens)


def _asked(args: argparse.Namespace, samples: Any, by: str, teacher: Any) -> None:
    options = {"model": args.model, "seed": args.seed, "tries": args.tries, "temperature": args.temperature}
    try:
        _write(args, samples, by, [args.file], **options)
    finally:
        print(f"cost: {teacher.endpoint.cost}")


def _journal(args: argparse.Namespace) -> Path:
    """Beside the output; it stays, as it was paid for."""
    if args.out.exists() and not args.overwrite:
        raise InputError("exists already", file=args.out, remedy="give another --out, or --overwrite to go on with it")
    return Path(args.out.with_suffix(".journal.jsonl"))


def _distil(args: argparse.Namespace) -> None:
    from reasoner_rm.data.cold_start import distil

    teacher = _teacher(args)
    options = {"template": args.template, "tries": args.tries, "seed": args.seed, "parallel": args.parallel}
    _asked(args, distil(args.file, _journal(args), teacher, **options), "distil", teacher)


def _inject(args: argparse.Namespace) -> None:
    from data_recipes.vicrit.model import inject_by_model

    model = _teacher(args)
    columns = {"image": args.image, "caption": args.caption}
    options = {"tries": args.tries, "seed": args.seed, "parallel": args.parallel}
    _asked(args, inject_by_model(args.file, _journal(args), model, **columns, **options), "inject", model)
