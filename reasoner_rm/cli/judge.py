"""The verb `judge`."""

from __future__ import annotations

import argparse
import json

from reasoner_rm.cli.common import Add, add_engine, libraries_to_stderr
from reasoner_rm.errors import InputError


def add_verbs(verb: Add) -> None:
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
    judge.add_argument("--json", action="store_true", help="print one JSON object")


def _judge(args: argparse.Namespace) -> None:
    import dataclasses

    from reasoner_rm.judge import Judge

    if not args.caption.strip():
        raise InputError("--caption is empty", remedy="give the text that the images should match")
    first, second = args.images
    with libraries_to_stderr():
        judge = Judge.from_pretrained(args.model, args.engine, url=args.url, max_tokens=args.max_tokens)
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
