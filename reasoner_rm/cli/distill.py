"""Actions of `data` in which a model writes text: distil, inject."""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.cli.common import Add, check_range, libraries_to_stderr, write_set
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.client.teacher import EndpointTeacher
    from reasoner_rm.rollout.teacher import EngineTeacher
    from reasoner_rm.tasks.render import Template

NO_PRICES = "0,0"


def add_actions(action: Add) -> None:
    distil = action(
        "distil", _distil, "generate cold-start reasoning with a teacher model; keep samples whose answer is correct"
    )
    distil.add_argument("file", type=Path)
    distil.add_argument(
        "--template", help="prompt template (default: a trained judge's own; `default` for any other teacher)"
    )
    distil.add_argument(
        "--url", help="an OpenAI-compatible endpoint, up to and including /v1; without it, --model runs in this process"
    )
    distil.add_argument(
        "--model", required=True, help="the model's name at the endpoint; or a checkpoint, run or hub id"
    )
    distil.add_argument(
        "--engine",
        choices=("auto", "transformers", "vllm"),
        default="auto",
        help="engine of a model in this process (default: auto)",
    )
    distil.add_argument("--min-pixels", type=int, help="as in training (default: the processor's own)")
    distil.add_argument("--max-pixels", type=int, help="as in training (default: the processor's own)")

    inject = action("inject", _inject, "generate captions with one error, written by a language model")
    inject.add_argument("file", type=Path, help="a table with an image and a caption column")
    inject.add_argument("--image", default="image", help="column of the image (default: image)")
    inject.add_argument("--caption", default="caption", help="column of the caption (default: caption)")
    inject.add_argument("--url", required=True, help="an OpenAI-compatible endpoint, up to and including /v1")
    inject.add_argument("--model", required=True, help="the model's name at the endpoint")

    for parser in (distil, inject):
        parser.add_argument(
            "--tries", type=int, default=2, help="most completions per sample until one is kept (default: 2)"
        )
        parser.add_argument("--temperature", type=float, default=0.7, help="default: 0.7")
        parser.add_argument("--max-tokens", type=int, default=1024, help="default: 1024")
        parser.add_argument("--parallel", type=int, default=8, help="concurrent requests to the endpoint (default: 8)")
        parser.add_argument(
            "--prices", metavar="IN,OUT", default=NO_PRICES, help="dollars per million input and output tokens"
        )
        parser.add_argument("--budget", type=float, help="stop when this many dollars are spent")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl")
        parser.add_argument("--overwrite", action="store_true", help="replace an earlier file")


def _distil(args: argparse.Namespace) -> None:
    from reasoner_rm.sampling.cold_start import distil

    _check(args)
    journal = _journal(args)
    options: dict[str, Any] = {"template_of": _template_of(args), "tries": args.tries, "seed": args.seed}
    if args.url is None:
        with libraries_to_stderr():
            engine = _engine_teacher(args)
        _write(args, distil(args.file, journal, engine, **options), "distil")
        return
    endpoint = _endpoint_teacher(args)
    _write(args, distil(args.file, journal, endpoint, **options), "distil", endpoint)


def _template_of(args: argparse.Namespace) -> Callable[[str], Template]:
    """The prompt template by task: a trained judge in this process writes well-formed answers to its own only."""
    from reasoner_rm.models.judge_checkpoint import is_judge, load_judge_config
    from reasoner_rm.tasks.render import load_template

    if args.template is not None or args.url is not None or not is_judge(args.model):
        return functools.partial(load_template, variant=args.template or "default")
    own = load_judge_config(args.model)
    return lambda task: own.template if task == own.task else load_template(task)


def _inject(args: argparse.Namespace) -> None:
    from data_recipes.vicrit.model import inject_by_model

    _check(args)
    endpoint = _endpoint_teacher(args)
    columns = {"image": args.image, "caption": args.caption}
    samples = inject_by_model(args.file, _journal(args), endpoint, **columns, tries=args.tries, seed=args.seed)
    _write(args, samples, "inject", endpoint)


def _write(args: argparse.Namespace, samples: Any, by: str, endpoint: EndpointTeacher | None = None) -> None:
    """Write the samples, and print the cost of the endpoint, also on failure."""
    options = {"model": args.model, "seed": args.seed, "tries": args.tries, "temperature": args.temperature}
    try:
        write_set(args, samples, by, [args.file], **options)
    finally:
        if endpoint is not None:
            print(f"cost: {endpoint.endpoint.cost}")


def _journal(args: argparse.Namespace) -> Path:
    """The journal of completions, next to the output. It is kept: completions may have cost money."""
    if args.out.exists() and not args.overwrite:
        raise InputError("exists already", file=args.out, remedy="give another --out, or --overwrite to continue")
    return Path(args.out.with_suffix(".journal.jsonl"))


def _check(args: argparse.Namespace) -> None:
    check_range(args, 1, math.inf, "tries", "parallel", "max_tokens")
    check_range(args, 0, 2, "temperature")


def _endpoint_teacher(args: argparse.Namespace) -> EndpointTeacher:
    from reasoner_rm.client.openai_client import OpenAIClient
    from reasoner_rm.client.teacher import EndpointTeacher
    from reasoner_rm.config import EndpointSection

    try:
        input_price, output_price = map(float, args.prices.split(","))
    except ValueError:
        input_price = output_price = -1.0
    if not (0 <= input_price < float("inf") and 0 <= output_price < float("inf")):
        raise InputError(f"--prices is {args.prices!r}", remedy="give IN,OUT in dollars, such as 2.5,10")
    if args.budget is not None and not args.budget > 0:
        raise InputError(f"--budget is {args.budget:g}", remedy="give an amount in dollars above 0")
    if args.budget is not None and not (input_price or output_price):
        raise InputError("--budget needs --prices", remedy="give the dollars per million tokens")
    section = EndpointSection(
        urls=(args.url,), model=args.model, input_price=input_price, output_price=output_price,
        budget=args.budget, timeout=120.0, concurrency=args.parallel,
    )  # fmt: skip
    return EndpointTeacher(OpenAIClient(section), args.temperature, args.max_tokens)


def _engine_teacher(args: argparse.Namespace) -> EngineTeacher:
    from reasoner_rm.models.box_converter import BoxConverter
    from reasoner_rm.rollout import SamplingParams
    from reasoner_rm.rollout.factory import load_engine
    from reasoner_rm.rollout.teacher import EngineTeacher

    if args.budget is not None or args.prices != NO_PRICES:
        raise InputError("--budget and --prices need --url", remedy="omit them for a model in this process")
    engine = load_engine(args.model, args.engine, min_pixels=args.min_pixels, max_pixels=args.max_pixels)
    encoder = engine.encoder
    box_converter = BoxConverter.of(encoder) if encoder is not None else None
    return EngineTeacher(engine, args.model, SamplingParams(args.temperature, args.max_tokens), box_converter)
