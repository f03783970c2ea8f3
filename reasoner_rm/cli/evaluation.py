"""The verbs of benchmarks: `eval NAME`, `eval compare A B`, `rescore DIR`; and of a run: `eval CONFIG.yaml`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.cli.common import Add, add_overrides, libraries_to_stderr
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.evaluation.benchmark import Benchmark
    from reasoner_rm.evaluation.protocol import Protocol
    from reasoner_rm.evaluation.runner import EvaluatedModel
    from reasoner_rm.evaluation.scoring import BenchmarkResult


def add_verbs(verb: Add) -> None:
    run = verb("eval", _eval, "score a judge on a benchmark, compare two such results, or measure a run")
    run.usage = (
        "reasoner-rm eval BENCHMARK --model M --data PATH --out DIR …\n"
        "       reasoner-rm eval compare A B\n       reasoner-rm eval CONFIG.yaml [--set a.b=c]…\n"
        "       reasoner-rm eval --list"
    )
    run.add_argument("what", nargs="*", help="a benchmark; `compare` and two result folders; or a run's config")
    run.add_argument("--list", action="store_true", help="list benchmarks and their protocols")
    run.add_argument("--json", action="store_true", help="print one JSON object")
    add_overrides(run)
    data = run.add_argument_group("data")
    data.add_argument("--data", help="the benchmark's file or folder as published, or its hub id")
    data.add_argument("--split", help="another split or part than the usual one")
    data.add_argument("--images", type=Path, help="where relative image paths are taken from")
    data.add_argument("--any-revision", action="store_true", help="take a file with another number of rows, too")
    data.add_argument("--remote", action="store_true", help="fetch images that are given as addresses")
    data.add_argument("--limit", type=int, metavar="N", help="the first N items only")
    data.add_argument("--lmms", type=Path, metavar="DIR", help="write the protocol as a task of lmms-eval, and no more")
    data.add_argument("--out", type=Path, help="the result folder; the same command goes on where it was stopped")
    judge = run.add_argument_group("judge")
    judge.add_argument("--model", help="a run, a checkpoint, a hub id, a server's model, or path/to/file.py:function")
    judge.add_argument("--engine", default="auto", help="auto, transformers, vllm or http (default: auto)")
    judge.add_argument(
        "--prompt", choices=("auto", "own", "protocol"), default="auto",
        help="the prompt that the judge was trained on, or the protocol's; auto: its own if it has one for this task",
    )  # fmt: skip
    judge.add_argument("--max-tokens", type=int, default=1024, help="of an answer (default: 1024)")
    judge.add_argument("--batch", type=int, default=32, help="items asked for at once (default: 32)")
    judge.add_argument("--blind", action="store_true", help="ask once more with grey images, as a baseline")
    server = run.add_argument_group("servers (the key comes from OPENAI_API_KEY)")
    for name, text in (("url", "of an OpenAI-compatible server, up to /v1"), ("grader-url", "the same of a grader")):
        server.add_argument(f"--{name}", help=text)
    server.add_argument("--grader-model", help="who grades answers that no rule can")
    for name, what in (
        ("requests-per-minute", "at most"), ("tokens-per-minute", "at most"), ("budget", "dollars to spend at most"),
        ("input-price", "dollars for a million tokens"), ("output-price", "dollars for a million tokens"),
    ):  # fmt: skip
        server.add_argument(f"--{name}", type=float, metavar="X", help=what)
    server.add_argument("--concurrency", type=int, metavar="N", help="requests under way at once")
    _add_knobs(run)

    again = verb("rescore", _rescore, "count stored predictions under any protocol, without a model")
    again.add_argument("folder", type=Path, metavar="DIR")
    again.add_argument("--no-report", action="store_true", help="write scores.json alone")
    again.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    _add_knobs(again)


def _add_knobs(parser: argparse.ArgumentParser) -> None:
    knobs = parser.add_argument_group("protocol")
    knobs.add_argument("--protocol", metavar="NAME", help="a protocol of the benchmark (eval --list)")
    for name, values in (
        ("order", "given, random, both, best_first or parity"), ("combine", "mean, majority or strict"),
        ("tie", "drop, wrong, right, half, exact or calibrated"), ("unparsed", "wrong, coin, exclude or spoil"),
        ("average", "micro, macro or all"),
    ):  # fmt: skip
        knobs.add_argument(f"--{name}", metavar="X", help=f"instead of the protocol's: {values}")
    knobs.add_argument("--votes", type=int, metavar="K", help="votes per item, and order if both are asked")
    knobs.add_argument("--temperature", type=float, metavar="T")
    knobs.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that hold P together")
    knobs.add_argument("--threshold", type=float, metavar="X", help="margins up to this are ties")
    knobs.add_argument("--over", metavar="FACET", help="what macro averages are over; group_id: each prompt")
    knobs.add_argument("--seed", type=int)


def _knobs(args: argparse.Namespace) -> dict[str, Any]:
    from reasoner_rm.evaluation.protocol import OPTIONS

    return {k: v for k in OPTIONS if (v := getattr(args, k, None)) is not None}


def _eval(args: argparse.Namespace) -> None:
    if args.list:
        print("\n".join(_listing()))
    elif not args.what:
        raise InputError("eval needs a benchmark, `compare A B`, or a CONFIG.yaml", remedy="--list shows benchmarks")
    elif args.what[0] == "compare":
        _compare(args)
    elif args.what[0].endswith((".yaml", ".yml")):
        from reasoner_rm.cli.stages import run_stage

        run_stage("eval", Path(args.what[0]), args.overrides, args.json)
    else:
        _benchmark(args)


def _benchmark(args: argparse.Namespace) -> None:
    from reasoner_rm.evaluation.registry import get_benchmark
    from reasoner_rm.evaluation.runner import run

    benchmark = get_benchmark(args.what[0])
    protocol = benchmark.protocol(args.protocol).with_options(**_knobs(args))
    if args.lmms:
        from reasoner_rm.evaluation.export import write_lmms_task

        print(write_lmms_task(benchmark, protocol, args.lmms))
        return
    for name in ("data", "model", "out"):
        if getattr(args, name) is None:
            raise InputError(f"eval {benchmark.name} needs --{name}", remedy="see reasoner-rm eval --help")
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}", remedy="give at least 1")
    with libraries_to_stderr():
        samples = benchmark.load(
            args.data, args.split, images=args.images, keep=args.out / "images", any_revision=args.any_revision,
            remote=args.remote,
        )[: args.limit]  # fmt: skip
        subject = _subject(args, benchmark, protocol, {s.task for s in samples})
        grader = _grader(args, benchmark)
        try:
            scores = run(
                benchmark, samples, subject, protocol, args.out, split=args.split or "", blind=args.blind,
                grader=grader, batch=args.batch,
            )  # fmt: skip
        finally:
            _tell_costs(judge=subject.predictor, grader=grader)
        report = _page(args.out)
    _tell(scores, args.json)
    if not args.json:
        print(f"report: {report}")


def _subject(args: argparse.Namespace, benchmark: Benchmark, protocol: Protocol, tasks: set[str]) -> EvaluatedModel:
    from reasoner_rm.evaluation.predictors import CallablePredictor, EnginePredictor
    from reasoner_rm.evaluation.prompts import prompts
    from reasoner_rm.evaluation.runner import EvaluatedModel
    from reasoner_rm.models.box_converter import BoxConverter
    from reasoner_rm.rewards.user_functions import load_function
    from reasoner_rm.rollout import SamplingParams
    from reasoner_rm.utils.user_code import is_in_file

    if is_in_file(args.model):
        return EvaluatedModel(CallablePredictor(load_function(args.model)), {"model": args.model, "engine": "python"})
    card = _card(args, tasks)
    if card is not None:
        low, high = card.min_pixels, card.max_pixels
    else:
        low = high = None
    engine = _engine(args, args.model, args.url, args.engine, low, high)
    template = card.template if card else None
    about = {"model": args.model, "engine": "http" if args.url else args.engine}
    about["prompt"] = f"{template.name} {template.hash}" if template else protocol.template or "the task's"
    sampling = SamplingParams(protocol.temperature, args.max_tokens, protocol.top_p)
    encoder = engine.encoder  # a server's image sizes are not known: its boxes stay as they are
    canvas = BoxConverter.of(encoder) if encoder is not None else None
    judge = EnginePredictor(engine, prompts(protocol, template), sampling, protocol.seed, canvas)
    return EvaluatedModel(judge, about, native_prompt=card is not None or not protocol.template)


def _card(args: argparse.Namespace, tasks: set[str]) -> Any:
    """How the judge was trained to be asked, if that is how it is to be asked."""
    if args.prompt == "protocol" or args.url or args.engine == "http":
        return None
    from reasoner_rm.models.judge_checkpoint import FILE, load_card
    from reasoner_rm.models.loading import resolve_model

    if not (Path(resolve_model(args.model)) / FILE).is_file():
        if args.prompt == "own":
            raise InputError(f"{args.model} has no {FILE}", remedy="--prompt protocol asks it in the protocol's words")
        return None
    card = load_card(args.model)
    if tasks == {card.task}:
        return card
    if args.prompt == "own":
        what = f"the judge was trained for {card.task}, the benchmark asks for {', '.join(sorted(tasks))}"
        raise InputError(what, remedy="--prompt protocol asks it in the protocol's words")
    return None


def _engine(
    args: argparse.Namespace, model: str, url: str | None, engine: str, low: int | None = None, high: int | None = None
) -> Any:
    from reasoner_rm.rollout.factory import load_engine

    if url is None and engine != "http":
        return load_engine(model, engine, min_pixels=low, max_pixels=high)  # type: ignore[arg-type]
    if url is None:
        raise InputError("engine http needs --url", remedy="give the server's address up to /v1")
    from reasoner_rm.config import EndpointSection

    names = ("requests_per_minute", "tokens_per_minute", "budget", "input_price", "output_price", "concurrency")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return load_engine(model, "http", endpoint=EndpointSection(urls=(url,), model=model, **given))


def _grader(args: argparse.Namespace, benchmark: Benchmark) -> Any:
    if not args.grader_url and not args.grader_model:
        return None
    from reasoner_rm.evaluation.predictors import CallablePredictor, EnginePredictor
    from reasoner_rm.evaluation.prompts import grader_prompt
    from reasoner_rm.rewards.user_functions import load_function
    from reasoner_rm.rollout import SamplingParams
    from reasoner_rm.utils.user_code import is_in_file

    if not args.grader_model:
        raise InputError("--grader-url needs --grader-model")
    if is_in_file(args.grader_model):
        return CallablePredictor(load_function(args.grader_model))
    engine = _engine(args, args.grader_model, args.grader_url, "auto")
    return EnginePredictor(engine, grader_prompt, SamplingParams(0.0, args.max_tokens))


def _page(folder: Path) -> Path:
    from reasoner_rm.report.benchmark import write_benchmark_report

    return write_benchmark_report(folder)


def _rescore(args: argparse.Namespace) -> None:
    from reasoner_rm.evaluation.runner import rescore

    scores = rescore(args.folder, args.protocol, **_knobs(args))
    report = None if args.no_report else _page(args.folder)
    _tell(scores, args.json)
    if report and not args.json:
        print(f"report: {report}")


def _tell(scores: BenchmarkResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(scores.as_json(), ensure_ascii=False))
        return
    from reasoner_rm.report.benchmark import summary_lines

    print("\n".join(summary_lines(scores.as_json())))


def _tell_costs(**judges: Any) -> None:
    """What this call took of a server, finished or not."""
    from reasoner_rm.evaluation.predictors import EnginePredictor

    for name, judge in judges.items():
        if isinstance(judge, EnginePredictor) and judge.engine.usage:
            print(f"cost of the {name}: {judge.engine.usage}", file=sys.stderr)


def _compare(args: argparse.Namespace) -> None:
    from reasoner_rm.evaluation.comparison import compare

    if len(args.what) != 3:
        raise InputError("eval compare needs two result folders", remedy="eval compare A B")
    found = compare(Path(args.what[1]), Path(args.what[2]))
    print(json.dumps(found.as_json(), ensure_ascii=False) if args.json else "\n".join(found.lines()))


def _listing() -> list[str]:
    from reasoner_rm.evaluation.registry import get_benchmark, list_benchmarks

    rows = []
    for name in list_benchmarks():
        benchmark = get_benchmark(name)
        rows.append(f"{name}  {benchmark.title}" + (f"  [{benchmark.hub}]" if benchmark.hub else ""))
        rows += [f"    {p.name:16} {p.about}" for p in benchmark.protocols]
    return rows
