"""The arguments of `eval` and `rescore`: data, judge, servers, and the options of a protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reasoner_rm.cli.common import add_dtype, add_max_pixels


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, judge and servers."""
    data = parser.add_argument_group("data")
    data.add_argument("--data", help="the benchmark's file or folder as published, or its hub id")
    data.add_argument("--split", help="a split or part of the benchmark other than the default")
    data.add_argument("--images", type=Path, help="folder of relative image paths")
    data.add_argument(
        "--any-revision", action="store_true", help="accept a file with another number of rows than published"
    )
    data.add_argument("--remote", action="store_true", help="fetch images that are given as URLs")
    data.add_argument("--limit", type=int, metavar="N", help="the first N items only")
    data.add_argument("--lmms", type=Path, metavar="DIR", help="only write the protocol as a task of lmms-eval")
    data.add_argument("--out", type=Path, help="result folder; the same command resumes an interrupted evaluation")
    judge = parser.add_argument_group("judge")
    judge.add_argument("--model", help="a run, a checkpoint, a hub id, a server's model, or path/to/file.py:function")
    judge.add_argument("--engine", default="auto", help="auto, transformers, vllm or http (default: auto)")
    judge.add_argument(
        "--prompt", choices=("auto", "own", "protocol"), default="auto",
        help="the prompt that the judge was trained on, or the protocol's; auto: its own if it has one for this task",
    )  # fmt: skip
    judge.add_argument("--max-tokens", type=int, default=1024, help="maximum length of a completion (default: 1024)")
    add_dtype(judge)
    add_max_pixels(judge)
    judge.add_argument("--batch", type=int, default=32, help="items per batch (default: 32)")
    judge.add_argument("--blind", action="store_true", help="also evaluate with grey images, as a baseline")
    server = parser.add_argument_group("servers (API key: OPENAI_API_KEY)")
    for name, text in (
        ("url", "OpenAI-compatible server, up to /v1"),
        ("grader-url", "server of the grader, up to /v1"),
    ):
        server.add_argument(f"--{name}", help=text)
    server.add_argument("--grader-model", help="model that grades free-form answers")
    for name, text in (
        ("requests-per-minute", "rate limit"), ("tokens-per-minute", "rate limit"), ("budget", "most dollars to spend"),
        ("input-price", "dollars per million tokens"), ("output-price", "dollars per million tokens"),
    ):  # fmt: skip
        server.add_argument(f"--{name}", type=float, metavar="X", help=text)
    server.add_argument("--concurrency", type=int, metavar="N", help="concurrent requests")


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """The name of a protocol, and options that override it."""
    options = parser.add_argument_group("protocol")
    options.add_argument("--protocol", metavar="NAME", help="a protocol of the benchmark (eval --list)")
    for name, values in (
        ("order", "given, random, both, best_first or parity"), ("combine", "mean, majority or strict"),
        ("tie", "drop, wrong, right, half, exact or calibrated"), ("unparsed", "wrong, coin or exclude"),
        ("average", "micro, macro or all"),
    ):  # fmt: skip
        options.add_argument(f"--{name}", metavar="X", help=f"override: {values}")
    options.add_argument("--votes", type=int, metavar="K", help="votes per item and order")
    options.add_argument("--temperature", type=float, metavar="T")
    options.add_argument(
        "--top-p", type=float, metavar="P", help="nucleus sampling: the most probable tokens with total probability P"
    )
    options.add_argument("--threshold", type=float, metavar="X", help="score margins up to this are ties")
    options.add_argument("--over", metavar="FACET", help="facet of macro averages; group_id: per prompt")
    options.add_argument("--seed", type=int)


def protocol_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by name."""
    from reasoner_rm.evaluation.protocol import OPTIONS

    return {k: v for k in OPTIONS if (v := getattr(args, k, None)) is not None}
