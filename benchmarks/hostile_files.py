"""Model folders, judges' cards and data files of strangers, through the verbs that read them.

    python benchmarks/hostile_files.py --json benchmarks/results/hostile_files.json

Each file of tests/helpers/hostile_models.py and hostile_data.py is made in a folder of its own and given to each verb
in a process of its own, which is forked. Written down are its exit code, the lines on standard error, its seconds and
its memory; what Python opened, connected to or started (an audit hook); and whether a file beside the folder was opened
by anything (inotify). A process that would need more than a minute or 8 GB is ended.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import hostile_data
import hostile_models
from watched_process import Ended, run_watched

from reasoner_rm import Judge, load_samples
from reasoner_rm.cli import main as run_verb
from reasoner_rm.data.images import open_image
from reasoner_rm.errors import InputError
from reasoner_rm.models.tiny import make_tiny
from reasoner_rm.tasks.frames import frames

ROOT = Path(__file__).parents[1]
OWN = tuple(map(str, (ROOT, sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], "/proc/self", "/sys",
                      "/dev/null", "/usr/lib", "/usr/share", "/etc/mime.types", Path.home() / ".cache")))  # fmt: skip
"""What Python and its libraries open for themselves."""
ENDED = "one line, exit code 2"
READ = "read, exit code 0"

Verb = Callable[[Path, Path], list[Any]]
MODEL_VERBS: dict[str, Verb] = {
    "judge": lambda model, work: ["judge", "--model", model, "--caption", "red", work / "1.png", work / "2.png",
                                  "--engine", "transformers", "--max-tokens", 1],
    "eval": lambda model, work: ["eval", "samples", "--model", model, "--data", work / "test.jsonl", "--split", "test",
                                 "--engine", "transformers", "--max-tokens", 1, "--out", work / "out"],
    "serve": lambda model, work: ["serve", "--model", model, "--engine", "transformers", "--port", 0],
}  # fmt: skip
DATA_VERBS: dict[str, dict[str, Verb]] = {
    "samples": {
        "data validate": lambda file, work: ["data", "validate", file],
        "data show": lambda file, work: ["data", "show", file],
        "data show --html": lambda file, work: ["data", "show", file, "--html", work / "page.html"],
        "data dedup": lambda file, work: ["data", "dedup", file, "--out", work / "out.jsonl"],
        "data pack": lambda file, work: ["data", "pack", file, "--out", work / "packed"],
        "training's loading": lambda file, work: [],
    },
    "table": {
        "data build": lambda file, work: ["data", "build", "mapped", "--data", file, "--decode", "--mapping",
                                          work / "mapping.yaml", "--out", work / "built"],
    },
    "archive": {"data unpack": lambda file, work: ["data", "unpack", file, "--out", work / "unpacked"]},
}  # fmt: skip
SHOWS_ALL = ("data show", "data show --html")
"""Verbs that show invalid samples too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", nargs="+", default=["judge", "eval", "serve"], choices=MODEL_VERBS, help="of models")
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = make_tiny(Path(folder) / "tiny", ["Image 1: Image 2: Caption: red"])
        warm = Judge.from_pretrained(base, "transformers", max_tokens=1, template="brief")
        hostile_data.pictures(Path(folder))
        images = [Path(folder) / "1.png", Path(folder) / "2.png"]
        warm.compare("red", *images)
        outcomes = [*_models(base, args.verbs, args.only), *_data(args.only)]
    result = _summary(outcomes)
    print(json.dumps({name: value for name, value in result.items() if name != "lines"}, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _models(base: Path, verbs: list[str], only: str) -> Iterator[dict[str, Any]]:
    for name in hostile_models.SPOILED:
        if only in name:
            yield from _through("model", name, {verb: MODEL_VERBS[verb] for verb in verbs},
                                lambda folder, name=name: hostile_models.make(folder, base, name))  # fmt: skip


def _data(only: str) -> Iterator[dict[str, Any]]:
    for name in hostile_data.MADE:
        if only in name:
            yield from _through("data", name, None, lambda folder, name=name: hostile_data.make(folder, name))


def _through(
    kind: str, name: str, verbs: dict[str, Verb] | None, make: Callable[[Path], Path]
) -> Iterator[dict[str, Any]]:
    """One hostile file through each of its verbs."""
    with tempfile.TemporaryDirectory(prefix="hostile") as folder:
        made = Path(folder) / "made"
        run_watched(lambda: made.write_text(str(make(Path(folder)))) and None)
        file = Path(made.read_text())
        for verb, command in (verbs or DATA_VERBS[hostile_data.kind_of(file)]).items():
            work = Path(folder) / "work" / verb.replace(" ", "-")
            work.mkdir(parents=True)
            (work / "mapping.yaml").write_text(hostile_data.MAPPING)
            hostile_data.rows(hostile_data.PAIR)(work).rename(work / "test.jsonl")
            outside = [path for path in (Path(folder) / "outside").iterdir() if path.is_file()]
            argv = [str(part) for part in command(file, work)]
            ended = run_watched(lambda argv=argv: run_verb(argv) if argv else _train_on(file), watch=outside)
            yield {"kind": kind, "file": name, "verb": verb, **_outcome(ended, Path(folder), work)}


def _train_on(file: Path) -> None:
    """What training does with a file of samples before its first step, as a verb."""
    try:
        for sample in load_samples(file):
            for ref in (*sample.images, *(frame for video in sample.videos for frame in frames(video))):
                open_image(ref)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _outcome(ended: Ended, folder: Path, work: Path) -> dict[str, Any]:
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    if ended.code == 2 and len(errors) == 1 and "Traceback" not in ended.stderr:
        how = ENDED
    elif ended.code == 0 and not errors:
        how = READ
    else:
        how = f"exit code {ended.code}: {(ended.stderr.splitlines() or [''])[-1][:200]}"
    told = ended.stdout + ended.stderr + "".join(
        path.read_bytes().decode("utf-8", "replace") for path in work.rglob("*") if path.is_file()
    )  # fmt: skip
    inside = (*OWN, str(folder / "model"), str(folder / "data"), str(work))
    opened = {path for event, path in ended.events if event == "open" and not path.startswith(inside)}
    return {
        "ended": how,
        "line": (errors or [""])[0].replace(str(folder), "")[:300],
        "seconds": round(ended.seconds, 2),
        "peak_mb": ended.peak_mb,
        "ran_its_code": (folder / "ran").exists(),
        "opened_outside": sorted({Path(path).name for path in ended.watched}),
        "repeated_outside": hostile_data.CANARY in told,
        "other_files": sorted(path.replace(str(folder), "") for path in opened),
        "connected_or_started": [list(event) for event in ended.events if event[0] not in ("open", "os.fork")],
    }


def _summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    ends: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for outcome in outcomes:
        ends[outcome["verb"]][outcome["ended"]] += 1
    wrong = [o for o in outcomes if o["ended"] not in (ENDED, READ)]
    return {
        "files": {kind: len({o["file"] for o in outcomes if o["kind"] == kind}) for kind in ("model", "data")},
        "ends": {verb: dict(counts) for verb, counts in ends.items()},
        "ended_otherwise": [f"{o['verb']}: {o['file']}: {o['ended']}" for o in wrong],
        "read_though_hostile": [
            f"{o['verb']}: {o['file']}" for o in outcomes if o["ended"] == READ and o["verb"] not in SHOWS_ALL
        ],
        "ran_its_code": sum(o["ran_its_code"] for o in outcomes),
        "repeated_outside": sum(o["repeated_outside"] for o in outcomes),
        "opened_outside": sorted({f"{o['kind']}: {o['file']}" for o in outcomes if o["opened_outside"]}),
        "other_files": sorted({path for o in outcomes for path in o["other_files"]})[:50],
        "connected_or_started": [f"{o['verb']}: {e}" for o in outcomes for e in o["connected_or_started"]][:50],
        "slowest_s": max(o["seconds"] for o in outcomes),
        "peak_mb": max(o["peak_mb"] for o in outcomes),
        "lines": [f"{o['verb']}: {o['file']}: {o['line']}" for o in outcomes if o["line"]],
    }


if __name__ == "__main__":
    main()
