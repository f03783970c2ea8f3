"""The shell: `reasoner-rm VERB`. Verbs import what they need when they run, so that help is instant.

Exit codes: 0 fine, 1 something broke, 2 the input is wrong (one line says what and what to do).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from reasoner_rm.errors import InputError

if TYPE_CHECKING:
    from reasoner_rm.config import Config

STAGE_VERBS = {"sft": "cold_start", "sift": "sift", "grpo": "grpo"}


def main(argv: list[str] | None = None) -> NoReturn:
    """Run a verb and exit."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reasoner-rm", description="Vision-language models that reason before they judge."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(run=run)
        return sub

    pocket = verb(
        "pocket", _pocket, "the whole loop on a small world, on a laptop: cold start, sift, GRPO, evaluation, report"
    )
    pocket.add_argument("--world", default="shapes", help="shapes or digits (default: shapes)")
    pocket.add_argument(
        "--task",
        default="preference",
        help="preference; in the world of shapes also caption_critic, detection or qa (default: preference)",
    )
    pocket.add_argument("--out", type=Path, help="run directory (default: the next free runs/pocket-WORLD-TASK-N)")
    pocket.add_argument("--seed", type=int, default=0)
    pocket.add_argument("--quick", action="store_true", help="a few minutes, to see that everything works")
    pocket.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="override a setting"
    )

    for name, text in (
        ("sft", "the cold start: supervised fine-tuning on reasoned verdicts"),
        ("sift", "sample what the model judges right already, fine-tune on that, keep the rest for RL"),
        ("grpo", "GRPO with rule rewards and a listener"),
        ("eval", "evaluate the last checkpoint of a run in both candidate orders"),
    ):
        stage = verb(name, _stage, text)
        stage.set_defaults(verb=name)
        stage.add_argument("config", type=Path, metavar="CONFIG.yaml")
        stage.add_argument(
            "--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="override a setting"
        )
        stage.add_argument("--json", action="store_true", help="print the run's summary as one JSON object")

    judge = verb("judge", _judge, "which of two images serves a caption better")
    judge.add_argument("--model", required=True, help="a run, a checkpoint folder, or a hub id")
    judge.add_argument("--caption", required=True)
    judge.add_argument("images", nargs=2, metavar="IMAGE")
    judge.add_argument(
        "--votes", type=int, default=1, help="votes per order; 1 is greedy, more are sampled (default: 1)"
    )
    judge.add_argument("--both-orders", action=argparse.BooleanOptionalAction, default=True, help="ask in both orders")
    judge.add_argument("--max-tokens", type=int, default=1024)
    judge.add_argument("--json", action="store_true", help="print one JSON object")

    reward = verb("reward", _reward, "score one completion with a reward, and say what was read out of it")
    reward.add_argument("name", nargs="?", help="a component, a preset, or path/to/file.py:function")
    reward.add_argument("--list", action="store_true", help="list rewards and presets, with ranges and sources")
    reward.add_argument("--sample", type=Path, help="a JSON file with one sample")
    reward.add_argument("--completion", help="a text file, or - for standard input")
    reward.add_argument(
        "--param", dest="params", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the reward"
    )
    reward.add_argument("--json", action="store_true", help="print one JSON object")

    from reasoner_rm import cli_data

    data = verb("data", cli_data.run, "build, look at, check and combine datasets")
    cli_data.add_actions(data)

    report = verb("report", _report, "write a run's report.html again")
    report.add_argument("run_dir", type=Path, metavar="RUN")
    return parser


def _pocket(args: argparse.Namespace) -> None:
    from reasoner_rm.pipeline.pocket import pocket

    with _libraries_to_stderr():
        path = pocket(args.world, args.task, args.out, args.seed, args.quick, tuple(args.overrides))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    print(_headline(summary))
    print(f"report: {path / 'report.html'}")
    if args.task == "preference":
        caption = {"digits": "a handwritten 7"}.get(args.world, "a red circle")
        print(f'judge:  {_me()} judge --model {path} --caption "{caption}" A.png B.png')


def _me() -> str:
    """How to call this program from here: by its name where the shell finds it, else by its path."""
    found = shutil.which("reasoner-rm")
    return "reasoner-rm" if found else os.path.relpath(Path(sys.executable).with_name("reasoner-rm"))


def _headline(summary: dict[str, Any]) -> str:
    from reasoner_rm.report.words import measure

    parts = []
    for stage, splits in summary.get("stages", {}).items():
        figures = splits.get("heldout", {})
        low, high = figures.get("accuracy_interval") or (float("nan"),) * 2
        parts.append(f"{stage} {figures.get('accuracy', float('nan')):.1%} [{low:.1%}, {high:.1%}]")
    blind = summary.get("blind", {}).get("accuracy")
    line = f"held-out {measure(summary.get('task', ''))}: " + " → ".join(parts)
    return line if blind is None else f"{line}; blind {blind:.1%}"


def _stage(args: argparse.Namespace) -> None:
    from reasoner_rm.config import load_config

    config = load_config(args.config, args.overrides)
    with _libraries_to_stderr():
        summary, report = _run_stage(args.verb, config)
    if args.json:
        print(json.dumps(summary))
    else:
        if summary.get("stages"):
            print(_headline(summary))
        print(f"report: {report}")


def _run_stage(verb: str, config: Config) -> tuple[dict[str, Any], Path]:
    """The run's summary, and where its report is."""
    from reasoner_rm.pipeline.stages import Pipeline
    from reasoner_rm.report import write_report
    from reasoner_rm.training.rundir import RunDir

    if verb == "eval":
        run = RunDir(config.run.out)
        last = run.latest()
        if last is None:
            raise InputError("no checkpoint to evaluate", file=config.run.out, remedy="run a stage first")
        Pipeline(config, run).measure(last.name, blind=True)  # type: ignore[arg-type]
    else:
        stage = STAGE_VERBS[verb]
        run = RunDir.join(config.run.out, stage, config.yaml())  # type: ignore[arg-type]
        pipeline = Pipeline(config, run)
        pipeline.train(stage)  # type: ignore[arg-type]
        pipeline.measure(stage, blind=stage == "grpo")  # type: ignore[arg-type]
    return run.read_json("summary.json"), write_report(run.path)


def _libraries_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Standard output is the verb's own: DeepSpeed, for one, announces itself there when it is imported."""
    return contextlib.redirect_stdout(sys.stderr)


def _judge(args: argparse.Namespace) -> None:
    import dataclasses

    from reasoner_rm.judge import Judge

    if not args.caption.strip():
        raise InputError("--caption is empty", remedy="say what the images should show")
    first, second = args.images
    with _libraries_to_stderr():
        judge = Judge.from_pretrained(args.model, max_tokens=args.max_tokens)
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
        winner = "neither: the verdict changes with the order" if verdict.consistent is False else "a tie"
    print(f"preferred: {winner}")
    print(f"share of votes for image 1: {verdict.p_first:.2f}" if verdict.p_first is not None else "")
    if verdict.consistent is not None:
        print(f"both orders agree: {'yes' if verdict.consistent else 'no'}")
    print(f"reasoning: {verdict.reasoning}")


def _reward(args: argparse.Namespace) -> None:
    from reasoner_rm.rewards.by_hand import explain, listing

    if args.list:
        print("\n".join(listing()))
        return
    if not (args.name and args.sample and args.completion):
        raise InputError("reward needs NAME, --sample and --completion", remedy="or --list to see what there is")
    text = sys.stdin.read() if args.completion == "-" else _read(Path(args.completion))
    try:
        row = json.loads(_read(args.sample))
    except json.JSONDecodeError as error:
        raise InputError(f"not valid JSON: {error}", file=args.sample) from None
    if not isinstance(row, dict):
        raise InputError("a sample is a JSON object", file=args.sample)
    with _libraries_to_stderr():
        found = explain(args.name, text, row, params=dict(map(_assignment, args.params)))
    print(json.dumps(found.as_json(), ensure_ascii=False) if args.json else "\n".join(found.lines()))


def _assignment(text: str) -> tuple[str, Any]:
    import yaml

    name, sign, value = text.partition("=")
    if not (name and sign):
        raise InputError(f"--param {text!r} is not of the form name=value")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--param {text!r}: the value is not valid YAML") from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it ({error})", file=file) from None


def _report(args: argparse.Namespace) -> None:
    from reasoner_rm.report import write_report

    if not (args.run_dir / "config.resolved.yaml").is_file():
        raise InputError("not a run directory", file=args.run_dir, remedy="give the folder that a run wrote")
    print(write_report(args.run_dir))


if __name__ == "__main__":
    main()
