"""The verbs `eval` (a benchmark, a comparison of two results, or a run's held-out data) and `rescore`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasoner_rm.cli.common import Add, add_overrides, check_model_options, libraries_to_stderr
from reasoner_rm.cli.eval_arguments import add_benchmark_arguments, add_protocol_options, protocol_options
from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.evaluation.benchmark import Benchmark
    from reasoner_rm.evaluation.protocol import Protocol
    from reasoner_rm.evaluation.runner import EvaluatedModel
    from reasoner_rm.evaluation.scoring import BenchmarkResult
    from reasoner_rm.models.judge_checkpoint import JudgeConfig
    from reasoner_rm.rollout import RolloutEngine


def add_verbs(verb: Add) -> None:
    run = verb(
        "eval", _eval, "evaluate a judge on a benchmark, compare two results, or evaluate a run on its held-out data"
    )
    run.usage = (
        "reasoner-rm eval BENCHMARK --model M --data PATH --out DIR …\n"
        "       reasoner-rm eval compare A B [--protocol NAME]\n       reasoner-rm eval CONFIG.yaml [--set a.b=c]…\n"
        "       reasoner-rm eval --list"
    )
    run.add_argument("what", nargs="*", help="a benchmark; `compare` and two result folders; or a run's config")
    run.add_argument("--list", action="store_true", help="list benchmarks and their protocols")
    run.add_argument("--json", action="store_true", help="print one JSON object")
    add_overrides(run)
    add_benchmark_arguments(run)
    add_protocol_options(run)

    rescore = verb("rescore", _rescore, "score stored predictions under another protocol, without a model")
    rescore.add_argument("folder", type=Path, metavar="DIR")
    rescore.add_argument("--no-report", action="store_true", help="write the scores only")
    rescore.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    add_protocol_options(rescore)


def _eval(args: argparse.Namespace) -> None:
    if args.list:
        print("\n".join(_listing()))
    elif not args.what:
        raise InputError("eval needs a benchmark, `compare A B` or a CONFIG.yaml", remedy="see eval --list")
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
    protocol = benchmark.protocol(args.protocol).with_options(**protocol_options(args))
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
            _print_costs(judge=subject.predictor, grader=grader)
        report = _write_report(args.out, scores)
    _print_scores(scores, args.json)
    if not args.json:
        print(f"report: {report}")


def _subject(args: argparse.Namespace, benchmark: Benchmark, protocol: Protocol, tasks: set[str]) -> EvaluatedModel:
    from reasoner_rm.evaluation.predictors import CallablePredictor, EnginePredictor
    from reasoner_rm.evaluation.prompts import prompts
    from reasoner_rm.evaluation.runner import EvaluatedModel
    from reasoner_rm.judge.loading import pixel_bounds
    from reasoner_rm.models.box_converter import BoxConverter
    from reasoner_rm.rewards.user_functions import load_function
    from reasoner_rm.rollout import SamplingParams
    from reasoner_rm.rollout.factory import load_engine
    from reasoner_rm.utils.user_code import is_in_file

    if is_in_file(args.model):
        return EvaluatedModel(CallablePredictor(load_function(args.model)), {"model": args.model, "engine": "python"})
    check_model_options(args, args.max_pixels)
    engine = _engine(args, args.model, args.url) if args.url or args.engine == "http" else None
    config = _judge_config(args, tasks, engine)
    if engine is None:
        low, high = pixel_bounds(config, args.max_pixels)
        engine = load_engine(args.model, args.engine, dtype=args.dtype, min_pixels=low, max_pixels=high)
    template = config.template if config else None
    description = {"model": args.model, "engine": "http" if args.url else args.engine}
    description["prompt"] = f"{template.name} {template.hash}" if template else protocol.template or "the task's"
    if args.dtype != "auto":
        description["dtype"] = args.dtype
    if args.max_pixels is not None:
        description["max_pixels"] = str(args.max_pixels)
    sampling = SamplingParams(protocol.temperature, args.max_tokens, protocol.top_p)
    encoder = engine.encoder  # a server's image sizes are not known: its boxes stay as they are
    box_converter = BoxConverter.of(encoder) if encoder is not None else None
    judge = EnginePredictor(engine, prompts(protocol, template), sampling, protocol.seed, box_converter)
    return EvaluatedModel(judge, description, native_prompt=config is not None or not protocol.template)


def _judge_config(args: argparse.Namespace, tasks: set[str], engine: RolloutEngine | None) -> JudgeConfig | None:
    """The judge's configuration if it is asked with its own prompt, else None: of a judge's server the server's, else
    that of the local folder ``--model``, if it is one.

    Args:
        engine: of a server.
    """
    from reasoner_rm.judge.remote_judge import served_judge
    from reasoner_rm.models.judge_checkpoint import FILE, load_judge_config
    from reasoner_rm.models.loading import model_location

    if args.prompt == "protocol":
        return None
    served = served_judge(engine) if engine is not None else None
    if served is not None:
        config = None if served.is_base_model else served.config
    else:
        config = load_judge_config(args.model) if (Path(model_location(args.model)) / FILE).is_file() else None
    if config is not None and tasks == {config.task}:
        return config
    if args.prompt == "own":
        problem = f"{args.model} is no trained judge: it has no {FILE}"
        if config is not None:
            problem = f"the judge was trained for {config.task}, the benchmark has {', '.join(sorted(tasks))}"
        raise InputError(problem, remedy="use --prompt protocol")
    return None


def _engine(args: argparse.Namespace, model: str, url: str | None) -> RolloutEngine:
    """The engine of a model on a server."""
    from reasoner_rm.rollout.factory import endpoint_at, load_engine

    if url is None:
        raise InputError("engine http needs --url", remedy="give the server's address up to /v1")
    names = ("requests_per_minute", "tokens_per_minute", "budget", "input_price", "output_price", "concurrency")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return load_engine(model, "http", endpoint=endpoint_at(url, model, **given))


def _grader(args: argparse.Namespace, benchmark: Benchmark) -> Any:
    if not args.grader_url and not args.grader_model:
        return None
    from reasoner_rm.evaluation.predictors import CallablePredictor, EnginePredictor
    from reasoner_rm.evaluation.prompts import grader_prompt
    from reasoner_rm.rewards.user_functions import load_function
    from reasoner_rm.rollout import SamplingParams
    from reasoner_rm.rollout.factory import load_engine
    from reasoner_rm.utils.user_code import is_in_file

    if not args.grader_model:
        raise InputError("--grader-url needs --grader-model")
    if is_in_file(args.grader_model):
        return CallablePredictor(load_function(args.grader_model))
    url = args.grader_url
    engine = _engine(args, args.grader_model, url) if url else load_engine(args.grader_model)
    return EnginePredictor(engine, grader_prompt, SamplingParams(0.0, args.max_tokens))


def _write_report(folder: Path, scores: BenchmarkResult) -> Path:
    from reasoner_rm.report.benchmark import write_benchmark_report

    return write_benchmark_report(folder, scores.protocol.name)


def _rescore(args: argparse.Namespace) -> None:
    from reasoner_rm.evaluation.runner import rescore

    scores = rescore(args.folder, args.protocol, **protocol_options(args))
    report = None if args.no_report else _write_report(args.folder, scores)
    _print_scores(scores, args.json)
    if report and not args.json:
        print(f"report: {report}")


def _print_scores(scores: BenchmarkResult, as_json: bool) -> None:
    if as_json:
        print(json.dumps(scores.as_json(), ensure_ascii=False))
        return
    from reasoner_rm.report.benchmark import summary_lines

    print("\n".join(summary_lines(scores.as_json())))


def _print_costs(**judges: Any) -> None:
    """Print what this call cost on each server, also if it failed."""
    from reasoner_rm.evaluation.predictors import EnginePredictor

    for name, judge in judges.items():
        if isinstance(judge, EnginePredictor) and judge.engine.usage:
            print(f"cost of the {name}: {judge.engine.usage}", file=sys.stderr)


def _compare(args: argparse.Namespace) -> None:
    from reasoner_rm.evaluation.comparison import compare

    if len(args.what) != 3:
        raise InputError("eval compare needs two result folders", remedy="eval compare A B")
    one, two = map(Path, args.what[1:])
    comparison = compare(one, two, protocol=args.protocol, options=protocol_options(args))
    print(json.dumps(comparison.as_json(), ensure_ascii=False) if args.json else "\n".join(comparison.lines()))


def _listing() -> list[str]:
    from reasoner_rm.evaluation.registry import get_benchmark, list_benchmarks

    rows = []
    for name in list_benchmarks():
        benchmark = get_benchmark(name)
        rows.append(f"{name}  {benchmark.title}" + (f"  [{benchmark.hub}]" if benchmark.hub else ""))
        rows += [f"    {p.name:16} {p.about}" for p in benchmark.protocols]
    return rows
