"""Actions of `data` on built datasets: validate, pack, unpack, mix, dedup, decontaminate, filter."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner_rm.cli.common import Add, check_range, command, write_set
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.schema import Sample


def add_actions(action: Add) -> None:
    """Add the actions; ``action(name, run, text)`` returns a parser."""
    validate = action(
        "validate", _validate, "validate every row and image of a JSONL of samples; exit code 2 if training would fail"
    )
    validate.add_argument("file", type=Path, metavar="FILE.jsonl")
    validate.add_argument("--model", help="also count tokens with this model's processor: a checkpoint, run or hub id")
    validate.add_argument("--template", default="default", help="prompt template to count with (default: default)")
    validate.add_argument("--min-pixels", type=int, help="as in training (default: the processor's own)")
    validate.add_argument("--max-pixels", type=int, help="as in training (default: the processor's own)")
    validate.add_argument("--max-tokens", type=int, help="longer rows are errors (default: the model's context length)")
    validate.add_argument("--html", type=Path, metavar="OUT.html", help="write a page with histograms and images")
    validate.add_argument("--workers", type=int, help="threads (default: one per core)")
    validate.add_argument("--json", action="store_true", help="print one JSON object")

    unpack = action("unpack", _unpack, "unpack a tarball, also one in parts; paths cannot leave the folder")
    unpack.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE", help="the tarball, or all its parts")
    unpack.add_argument("--out", type=Path, required=True, help="folder to unpack into")

    pack = action("pack", _pack, "write the images into parquet shards, with a copy of the samples that refers to them")
    pack.add_argument("file", type=Path)
    pack.add_argument("--out", type=Path, required=True, help="folder for the samples and the shards")
    pack.add_argument("--per-shard", type=int, default=2000, help="samples per shard (default: 2000)")
    pack.add_argument("--overwrite", action="store_true", help="replace existing shards")

    mix = action("mix", _mix, "mix several datasets by weight")
    mix.add_argument("parts", nargs="+", metavar="FILE[=WEIGHT]")
    mix.add_argument("--n", type=int, help="number of samples (default: as many as the weights allow)")
    mix.add_argument("--cap", type=int, help="most samples of one file")
    mix.add_argument("--seed", type=int, default=0)

    dedup = action("dedup", _dedup, "drop duplicate samples, by prompt, answers and images")
    dedup.add_argument("file", type=Path)
    dedup.add_argument(
        "--by", choices=("both", "prompt", "images"), default="both", help="what makes a duplicate (default: both)"
    )
    dedup.add_argument(
        "--near", type=int, default=6, help="bits of 64 by which perceptual hashes of one image may differ (default: 6)"
    )
    dedup.add_argument("--exact", action="store_true", help="compare images by their bytes only")

    clean = action("decontaminate", _decontaminate, "drop samples whose image or text is in a benchmark")
    clean.add_argument("file", type=Path)
    clean.add_argument(
        "--against",
        nargs="+",
        required=True,
        metavar="NAME=PATH",
        help="a benchmark of `eval` with its file, folder or hub id; or a JSONL of samples",
    )
    clean.add_argument(
        "--near", type=int, default=6, help="bits of 64 by which perceptual hashes of one image may differ (default: 6)"
    )

    keep = action("filter", _filter, "keep samples by vote margin, length balance, scores and diversity")
    keep.add_argument("file", type=Path)
    keep.add_argument("--min-margin", type=float, help="lowest |2·p_first − 1| of a preference, 0 to 1")
    keep.add_argument(
        "--max-length-ratio", type=float, help="largest ratio of the better answer's length to the other's"
    )
    keep.add_argument(
        "--at-least",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="lowest value of a field of meta or gold, such as confidence or judge_score",
    )
    keep.add_argument("--max-per-group", type=int, help="most samples of one prompt")
    keep.add_argument("--min-new", type=float, help="share of a prompt's word n-grams that must be new, 0 to 1")
    keep.add_argument("--task", action="append", default=[], help="keep only this task (repeatable)")

    for parser in (mix, dedup, clean, keep):
        parser.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl")
        parser.add_argument("--overwrite", action="store_true", help="replace an earlier file")


def _validate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.validation import validate
    from reasoner_rm.data.validation_page import in_text, write_page

    check_range(args, 1, math.inf, "workers", "max_tokens", "min_pixels", "max_pixels")
    lengths = None
    if args.model:
        from reasoner_rm.models.token_counter import Counter

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
        print(f"page: {args.html}" if args.html else "--html OUT.html writes histograms and images")
    if report.errors:
        first = next(f.examples[0] for f in report.findings.values() if f.severity == "error")
        count = "1 error" if report.errors == 1 else f"{report.errors} errors; the first"
        raise InputError(f"training would fail, {count}: {first}")


def _unpack(args: argparse.Namespace) -> None:
    from reasoner_rm.data.archives import unpack

    print(f"{unpack(args.archives, args.out)} files in {args.out}")


def _pack(args: argparse.Namespace) -> None:
    from reasoner_rm.data.shards import pack

    check_range(args, 1, math.inf, "per_shard")
    packed = pack(args.file, args.out, per_shard=args.per_shard, command=command(), overwrite=args.overwrite)
    shards = "1 shard" if packed.shards == 1 else f"{packed.shards} shards"
    print(f"packed: {packed.samples} samples, {packed.images} images in {shards}, {args.out / args.file.name}")


def _mix(args: argparse.Namespace) -> None:
    from reasoner_rm.data.mixing import mix, parts_of

    check_range(args, 1, math.inf, "n", "cap")
    parts = parts_of(args.parts)
    samples = mix(parts, args.n, args.cap, args.seed)
    write_set(args, samples, "mix", [p.file for p in parts], seed=args.seed, n=args.n, cap=args.cap, parts=args.parts)


def _dedup(args: argparse.Namespace) -> None:
    from reasoner_rm.data.duplicates import dedup
    from reasoner_rm.data.jsonl_ops import stream

    check_range(args, 0, 64, "near")
    near = None if args.exact else args.near
    rows = (sample for _, sample in stream(args.file))
    samples = dedup(rows, near, args.by != "images", args.by != "prompt")
    write_set(args, samples, "dedup", [args.file], by_what=args.by, near=near)


def _decontaminate(args: argparse.Namespace) -> None:
    from reasoner_rm.data.duplicates import Benchmarks, decontaminate
    from reasoner_rm.data.jsonl_ops import stream

    check_range(args, 0, 64, "near")
    with tempfile.TemporaryDirectory() as folder:
        benchmarks = Benchmarks((_benchmark_samples(text, Path(folder)) for text in args.against), args.near)
    samples = decontaminate((sample for _, sample in stream(args.file)), benchmarks)
    write_set(args, samples, "decontaminate", [args.file], against=args.against, near=args.near)


def _benchmark_samples(text: str, image_folder: Path) -> tuple[str, Iterable[Sample]]:
    """Name and samples of a benchmark, from NAME=PATH in its published form or from a JSONL of samples."""
    from reasoner_rm.data.jsonl_ops import stream

    name, mark, data = text.partition("=")
    if not mark or Path(text).exists():
        return Path(text).name, (sample for _, sample in stream(Path(text)))
    from reasoner_rm.evaluation.registry import load_benchmark

    return name, load_benchmark(name, data, keep=image_folder, any_revision=True)


def _filter(args: argparse.Namespace) -> None:
    from reasoner_rm.data.filter import Rules, apply_rules, at_least_of
    from reasoner_rm.data.jsonl_ops import stream

    check_range(args, 0, 1, "min_margin", "min_new")
    check_range(args, 1, math.inf, "max_length_ratio", "max_per_group")
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
    samples = apply_rules((sample for _, sample in stream(args.file)), rules)
    write_set(args, samples, "filter", [args.file], rules=str(rules))
