"""The verbs of a judge: `judge` decides between two images, `rank` orders several, `screen` filters labels."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from reasoner_rm.cli.common import Add, add_engine, add_max_pixels, libraries_to_stderr, load_judge
from reasoner_rm.errors import InputError

BATCH_SIZE = 64
"""Samples per batch."""


def add_verbs(verb: Add) -> None:
    _add_judge(verb)
    _add_rank_and_screen(verb)


def _add_judge(verb: Add) -> None:
    judge = verb("judge", _judge, "decide which of two images matches a caption better")
    judge.add_argument("--model", required=True, help="a run, a checkpoint folder, or a hub id")
    judge.add_argument("--caption", required=True)
    judge.add_argument("images", nargs=2, metavar="IMAGE")
    judge.add_argument(
        "--votes", type=int, default=1, help="completions per order; 1 is greedy, more are sampled (default: 1)"
    )
    judge.add_argument(
        "--both-orders", action=argparse.BooleanOptionalAction, default=True, help="judge both orders of the images"
    )
    judge.add_argument("--max-tokens", type=int, default=1024)
    add_engine(judge)
    add_max_pixels(judge)
    judge.add_argument("--json", action="store_true", help="print one JSON object")


def _add_rank_and_screen(verb: Add) -> None:
    rank = verb("rank", _rank, "rank images by how well they match a caption, best first")
    rank.add_argument("--caption", required=True)
    rank.add_argument("images", nargs="+", metavar="IMAGE")
    rank.add_argument("--method", default="auto", help="auto, round_robin, swiss or merge (default: auto)")
    screen = verb("screen", _screen, "keep the labelled comparisons whose label a judge agrees with")
    screen.add_argument("file", type=Path, metavar="FILE.jsonl")
    screen.add_argument("--out", type=Path, required=True, metavar="KEPT.jsonl")
    screen.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="keep a comparison if the share of votes for its label is above this (default: 0.5)",
    )
    for sub in (rank, screen):
        sub.add_argument("--model", required=True, help="a run, a checkpoint folder, or a hub id")
        sub.add_argument("--votes", type=int, default=1, help="votes per order (default: 1)")
        sub.add_argument("--max-tokens", type=int, default=1024)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        add_engine(sub)
        add_max_pixels(sub)


def _judge(args: argparse.Namespace) -> None:
    if not args.caption.strip():
        raise InputError("--caption is empty", remedy="give the text that the images should match")
    from reasoner_rm.utils.progress import working

    first, second = args.images
    with libraries_to_stderr():
        judge = load_judge(args, max_pixels=args.max_pixels)
        with working("judging"):
            verdict = judge.compare(args.caption, first, second, votes=args.votes, both_orders=args.both_orders)
    if args.json:
        print(json.dumps(dataclasses.asdict(verdict), ensure_ascii=False))
        return
    if not verdict.parsed:
        print("no readable verdict" + (f"; the model wrote: {verdict.reasoning}" if verdict.reasoning else ""))
        return
    if verdict.preferred is not None:
        winner = f"image {verdict.preferred + 1} ({args.images[verdict.preferred]})"
    else:
        winner = "none: the verdict depends on the order of the images" if verdict.consistent is False else "a tie"
    print(f"preferred: {winner}")
    print(f"share of votes for image 1: {verdict.p_first:.2f}" if verdict.p_first is not None else "")
    if verdict.consistent is not None:
        print(f"both orders agree: {'yes' if verdict.consistent else 'no'}")
    print(f"reasoning: {verdict.reasoning}")


def _rank(args: argparse.Namespace) -> None:
    from reasoner_rm.utils.progress import working

    with libraries_to_stderr():
        judge = load_judge(args, max_pixels=args.max_pixels)
        with working("ranking"):
            result = judge.tournament(args.caption, args.images, args.method, votes=args.votes)
    if args.json:
        row = dataclasses.asdict(result)
        print(json.dumps({**row, "unreadable": row.pop("unread")}))
        return
    for i in result.order:
        tied = " (tied)" if result.ranks.count(result.ranks[i]) > 1 else ""
        print(f"{result.ranks[i]}. {args.images[i]}{tied}")
    undecided = f", {result.undecided} undecided" if result.undecided else ""
    unread = f" ({result.unread} unreadable)" if result.unread else ""
    print(f"{result.method}, {result.comparisons} comparisons{undecided}{unread}", file=sys.stderr)


def _screen(args: argparse.Namespace) -> None:
    from tqdm.auto import tqdm

    from reasoner_rm.data.io import load_samples, write_samples
    from reasoner_rm.judge.temperature_scaling import gold_of
    from reasoner_rm.utils.progress import redrawn

    if args.out.exists():
        raise InputError("exists already", file=args.out, remedy="give another --out, or remove the file")
    if not 0.5 <= args.threshold < 1:
        raise InputError(f"--threshold is {args.threshold}", remedy="give a share from 0.5 to below 1")
    samples = load_samples(args.file)
    kept, ties, unread = [], 0, 0
    with libraries_to_stderr():
        judge = load_judge(args, max_pixels=args.max_pixels)
        with redrawn(tqdm(range(0, len(samples), BATCH_SIZE), desc="screening", unit="batch")) as bar:
            for start in bar:
                batch = samples[start : start + BATCH_SIZE]
                for sample, verdict in zip(batch, judge.verdicts(batch, args.votes), strict=True):
                    gold = gold_of(sample)
                    if gold is None or gold == 0.5:
                        ties += 1
                    elif verdict.p_first is None:
                        unread += 1
                    elif (verdict.p_first if gold > 0.5 else 1 - verdict.p_first) > args.threshold:
                        kept.append(sample)
    write_samples(args.out, kept)
    counts = {"read": len(samples), "kept": len(kept), "without_label": ties, "unreadable": unread}
    counts["disagreed"] = len(samples) - sum((len(kept), ties, unread))
    print(json.dumps(counts) if args.json else ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
