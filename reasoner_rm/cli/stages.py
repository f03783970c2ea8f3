"""The verbs of a run's stages (sft, rejection-sampling, grpo) and of its report."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reasoner_rm.cli.common import Add, add_overrides, libraries_to_stderr, summary_line
from reasoner_rm.errors import InputError, RunInterrupted
from reasoner_rm.utils.locks import folder_lock

if TYPE_CHECKING:
    from reasoner_rm.config import Config
    from reasoner_rm.training.run_dir import RunDir, Stage

STAGE_VERBS: dict[str, Stage] = {"sft": "cold_start", "rejection-sampling": "rejection_sampling", "grpo": "grpo"}


def add_verbs(verb: Add) -> None:
    for name, text in (
        ("sft", "cold start: supervised fine-tuning on answers with reasoning"),
        (
            "rejection-sampling",
            "sample completions, fine-tune on rows that the model mostly gets right, keep the others for RL",
        ),
        ("grpo", "GRPO with rule rewards and a listener"),
    ):
        stage = verb(name, _stage, text)
        stage.set_defaults(verb=name)
        stage.add_argument("config", type=Path, metavar="CONFIG.yaml")
        add_overrides(stage)
        stage.add_argument(
            "--resume", action="store_true", help="continue from the last complete state; start if there is none"
        )
        stage.add_argument(
            "--dry-run", action="store_true", help="print steps, tokens and an estimate of memory; train nothing"
        )
        stage.add_argument("--gpus", type=int, default=1, help="with --dry-run: number of GPUs (default: 1)")
        stage.add_argument(
            "--gpu-gb", type=float, help="with --dry-run: memory of one GPU, for vLLM's share, and advice if short"
        )
        stage.add_argument(
            "--speed",
            type=float,
            help="with --dry-run: generated tokens per second of one GPU, to estimate the rollout's time",
        )
        stage.add_argument("--json", action="store_true", help="print the run's summary as one JSON object")
    report = verb("report", _report, "write the report.html of a run")
    report.add_argument("run_dir", type=Path, metavar="RUN")
    report.add_argument("--watch", action="store_true", help="update it until the run is over, or Ctrl-C")


def _stage(args: argparse.Namespace) -> None:
    if args.dry_run:
        _dry_run(args)
    else:
        run_stage(args.verb, args.config, args.overrides, args.json, args.resume)


def _dry_run(args: argparse.Namespace) -> None:
    from reasoner_rm.config import load_config
    from reasoner_rm.pipeline.dry_run import plan

    config = load_config(args.config, args.overrides)
    with libraries_to_stderr():
        estimate = plan(config, STAGE_VERBS[args.verb], gpus=args.gpus, gpu_gb=args.gpu_gb, speed=args.speed)
    if args.json:
        print(json.dumps(estimate | {"config": config.model_dump(mode="json")}))
        return
    print(config.yaml())
    for name, value in estimate.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        print("\n".join(f"{name}{f'.{part}' if part else ''}: {entry}" for part, entry in parts))


def run_stage(verb: str, file: Path, overrides: Sequence[str], as_json: bool, resume: bool = False) -> None:
    """Run a stage of a config, or its evaluation, and print the result."""
    from reasoner_rm.config import load_config

    config = load_config(file, overrides)
    from reasoner_rm.report import write_report  # imports torch: after the config is checked

    with libraries_to_stderr():
        run = _evaluate(config) if verb == "eval" else _train(STAGE_VERBS[verb], config, resume)
        summary, report = run.summary(), write_report(run.path)
    if as_json:
        print(json.dumps(summary))
    else:
        if summary.get("stages"):
            print(summary_line(summary))
        print(f"report: {report}")


def _train(stage: Stage, config: Config, resume: bool) -> RunDir:
    """Train a stage on all started processes, then evaluate it on the first one; the others exit."""
    from reasoner_rm import distributed
    from reasoner_rm.pipeline.preflight import check_stage
    from reasoner_rm.pipeline.resume_check import check_unchanged
    from reasoner_rm.pipeline.stages import Pipeline
    from reasoner_rm.training.run_dir import RunDir

    distributed.init()
    run = RunDir(config.run.out)
    pipeline = Pipeline(config, run, resume)
    with contextlib.ExitStack() as lock:
        with distributed.raise_on_all_ranks():
            if distributed.is_main():
                lock.enter_context(folder_lock(run.path))
                check_unchanged(run, stage, config)
                check_stage(pipeline, stage, distributed.world_size())
                RunDir.join(config.run.out, stage, config.yaml(), resume)
        distributed.barrier()
        if not run.checkpoint(stage).exists():
            try:
                pipeline.train(stage)
            except RunInterrupted:  # all processes stop after the same step; leave the process group in order
                distributed.shutdown()
                raise
        distributed.shutdown()
        if not distributed.is_main():
            sys.exit(0)
        pipeline.evaluate_stage(stage, blind=stage == "grpo")
    return run


def _evaluate(config: Config) -> RunDir:
    from reasoner_rm.pipeline.stages import Pipeline
    from reasoner_rm.training.run_dir import RunDir

    run = RunDir(config.run.out)
    last = run.latest()
    if last is None:
        raise InputError("no checkpoint to evaluate", file=config.run.out, remedy="run a stage first")
    with folder_lock(run.path):
        Pipeline(config, run).evaluate_stage(last.name, blind=True, served=True)  # type: ignore[arg-type]
    return run


def _report(args: argparse.Namespace) -> None:
    from reasoner_rm.report import watch, write_report

    if not (args.run_dir / "config.resolved.yaml").is_file():
        raise InputError("not a run directory", file=args.run_dir, remedy="give the directory of a run")
    if not args.watch:
        print(write_report(args.run_dir))
        return
    print(args.run_dir / "report.html", flush=True)
    try:
        watch(
            args.run_dir, on_write=lambda report: print(f"{time.strftime('%X')} written", file=sys.stderr, flush=True)
        )
        print("the run is over", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped watching", file=sys.stderr)
