"""Every verb on a checkpoint of a published shape with random weights, in order, with tiny numbers.

    python benchmarks/full_size.py qwen2.5-vl-3b --work /tmp/full_size --json benchmarks/results/full_size_3b.json

Models: qwen2.5-vl-3b and qwen3-vl-2b run every verb (16 GB of memory and a quarter of an hour to an hour on two cores);
qwen2.5-vl-7b and qwen2.5-vl-32b only `--dry-run`, without weights. `--small` takes the same files with 4 narrow layers.
The photographs are scikit-learn's.

Each stage is a process of its own. Measured are its seconds, the peak of its memory (with its children's; of this the
part that is no file), and its longest silence: the longest time without output on a terminal. More than 20 s of it is
marked. What a stage holds beyond a dry run is compared with the dry run's estimate. The result is written after each
stage; a stage that ended well is not repeated when the same command is given again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import pty
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from checkpoints import MODELS, vocabulary_file, write_checkpoint

DRY_RUN_ONLY = ("qwen2.5-vl-7b", "qwen2.5-vl-32b")
SILENCE = 20.0
"""Seconds without output that are a fault."""
GB = 10**9
PERIOD = 0.1
"""Seconds between two measurements of the memory."""
CAPTION = "an old palace with a curved roof under a blue sky"
REASONED = "<think>Image {0} shows the palace and the sky of the caption.</think><answer>Image {0} is better</answer>"
CONFIG: dict[str, Any] = {
    "task": "image_preference",
    "model": {"dtype": "bfloat16", "min_pixels": 3136, "max_pixels": 50176, "freeze": ["vision", "merger"],
              "lora": {"r": 8, "alpha": 16}},
    "listener": {"path": "policy", "min_mass": 0.0},
    "sft": {"max_steps": 2, "batch_size": 1, "bf16": True, "gradient_checkpointing": True},
    "grpo": {"rewards": {"format": 0.5, "accuracy": 1.0, "listener_belief": 1.0}, "max_steps": 2, "save_steps": 1,
             "prompts_per_device": 1, "gradient_accumulation_steps": 1, "num_generations": 2,
             "max_completion_length": 12, "bf16": True, "gradient_checkpointing": True, "log_rollouts_every": 1},
    "engine": {"name": "transformers"},
    "eval": {"limit": 1, "max_completion_length": 12, "blank_images": False},
}  # fmt: skip

WHOLE: dict[str, Any] = {"model": {"lora": None}, "listener": {"path": None}, "grpo": {"rewards": {"accuracy": 1.0}}}
"""In a dry run all weights are trained."""


@dataclass
class Measured:
    """What a process was seen to do. ``silent_after`` is the last line before the longest silence."""

    returncode: int = 0
    seconds: float = 0.0
    peak_gb: float = 0.0
    peak_anonymous_gb: float = 0.0
    longest_silence: float = 0.0
    silent_after: str = ""
    load_before: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))

    @property
    def ok(self) -> bool:
        return self.returncode == 0


def watch(command: list[str], out: Path, until: Callable[[Path], int | None] = lambda out: None) -> Measured:
    """Run a command with a terminal as its standard error, and its standard output in a file.

    Args:
        until: gets the file of the output, several times a second; returns a signal to send, once, or None.
    """
    found, shown, signalled = Measured(), "", None
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))  # progress bars need a width
    began = heard = time.monotonic()
    with out.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    with selectors.DefaultSelector() as ready:
        ready.register(ours, selectors.EVENT_READ)
        while True:
            text = _read(ours) if ready.select(PERIOD) else None
            now = time.monotonic()
            if text or text == b"":
                if now - heard > found.longest_silence:
                    found.longest_silence, found.silent_after = now - heard, last_line(shown)
                heard, shown = now, shown + (text or b"").decode(errors="replace")
            if text == b"":  # the process is gone
                break
            _measure_memory(process.pid, found)
            if signalled is None and (signalled := until(out)) is not None:
                process.send_signal(signalled)
    os.close(ours)
    found.returncode, found.seconds = process.wait(), round(time.monotonic() - began, 1)
    found.longest_silence = round(found.longest_silence, 1)
    out.with_suffix(".terminal").write_text(shown)
    return found


def _read(terminal: int) -> bytes:
    """What a terminal shows; empty once nobody writes to it."""
    try:
        return os.read(terminal, 2**16)
    except OSError:
        return b""


def _measure_memory(pid: int, found: Measured) -> None:
    held = anonymous = 0
    try:
        process = psutil.Process(pid)
        for part in (process, *process.children(recursive=True)):
            memory = part.memory_info()
            held, anonymous = held + memory.rss, anonymous + memory.rss - memory.shared
    except psutil.Error:
        return
    found.peak_gb = max(found.peak_gb, round(held / GB, 2))
    found.peak_anonymous_gb = max(found.peak_anonymous_gb, round(anonymous / GB, 2))


def last_line(text: str) -> str:
    """The last line of a terminal, without its colours and the bar itself."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.strip() for line in re.split(r"[\r\n]+", plain) if line.strip()]
    return lines[-1][:160] if lines else ""


@dataclass(frozen=True)
class Stage:
    """A command, and what ends it before it ends by itself."""

    name: str
    arguments: list[str]
    until: Callable[[Path], int | None] = lambda out: None
    accepted: tuple[int, ...] = (0,)


def photographs(folder: Path) -> list[Path]:
    """Two photographs and a mirror image of each."""
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_images

    files = []
    for name, pixels in zip(("palace", "flower"), load_sample_images().images, strict=True):
        picture = Image.fromarray(pixels)
        for suffix, shown in (("", picture), ("_mirrored", ImageOps.mirror(picture))):
            files.append(folder / f"{name}{suffix}.jpg")
            shown.save(files[-1])
    return files


def write_inputs(work: Path, checkpoint: Path, changes: dict[str, Any]) -> Path:
    """Data and configuration of a run.

    Args:
        changes: settings by section, in place of `CONFIG`'s.
    """
    palace, mirrored, flower, _ = photographs(work)
    rows = []
    for i, images in enumerate(((palace, flower), (flower, palace), (mirrored, flower), (flower, mirrored))):
        first = 1.0 - i % 2
        rows.append({
            "id": str(i), "task": "image_preference", "prompt": CAPTION, "images": [image.name for image in images],
            "gold": {"p_first": first}, "target": REASONED.format(1 if first else 2),
        })  # fmt: skip
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {section: dict(value) if isinstance(value, dict) else value for section, value in CONFIG.items()}
    for section, values in changes.items():
        config[section] |= values
    config["run"] = {"out": str(work / "run")}
    config["model"]["path"] = str(checkpoint)
    config["data"] = {name: "rows.jsonl" for name in ("cold_start", "train", "heldout")}
    (work / "run.yaml").write_text(yaml.safe_dump(config))
    return work / "run.yaml"


class Request:
    """Asks a server once it says where it is, and ends it after the answer."""

    def __init__(self, images: list[Path]):
        self.images = images
        self.answer: Future[Any] | None = None
        self._pool = ThreadPoolExecutor(1)

    def __call__(self, out: Path) -> int | None:
        address = re.search(r"http://[\d.]+:\d+", out.read_text())
        if self.answer is None and address:
            self.answer = self._pool.submit(self._ask, address[0])
        return signal.SIGTERM if self.answer is not None and self.answer.done() else None

    def _ask(self, url: str) -> Any:
        from reasoner_rm import Judge

        return Judge.connect(url).compare(CAPTION, *self.images)


def stages(work: Path, checkpoint: Path, config: Path) -> list[Stage]:
    """Every verb, in order."""
    run, images = work / "run", [str(work / "palace.jpg"), str(work / "flower.jpg")]
    state = run / "checkpoints" / "grpo.steps" / "0000001"
    judge = ["--caption", CAPTION, *images, "--max-tokens", "12", "--json"]
    return [
        Stage("dry run: sft", ["sft", str(config), "--dry-run", "--json"]),
        Stage("dry run: grpo", ["grpo", str(config), "--dry-run", "--json"]),
        Stage("judge", ["judge", "--model", str(checkpoint), "--max-pixels", "50176", *judge]),
        Stage("sft", ["sft", str(config), "--json"]),
        Stage("grpo, killed after a step", ["grpo", str(config), "--json"],
              lambda out: signal.SIGKILL if state.is_dir() else None, accepted=(-signal.SIGKILL,)),
        Stage("grpo, resumed", ["grpo", str(config), "--json", "--resume"]),
        Stage("eval", ["eval", str(config), "--json"]),
        Stage("judge of the run", ["judge", "--model", str(run), *judge]),
        Stage("publish", ["publish", str(run), "--repo-id", "org/name", "--dry-run", "--check", "1",
                          "--max-tokens", "12", "--json"]),
        Stage("serve", ["serve", "--model", str(run), "--port", "0", "--max-tokens", "12"],
              Request([work / "palace.jpg", work / "flower.jpg"])),
    ]  # fmt: skip


def compare(found: dict[str, Measured], work: Path) -> dict[str, dict[str, float]]:
    """Estimated and measured memory of the two trainings, in GB, without what a dry run holds as well: Python and its
    libraries."""
    result = {}
    for name, dry in (("sft", "dry run: sft"), ("grpo, resumed", "dry run: grpo")):
        if name in found and dry in found:
            estimate = json.loads((work / f"{file_name(dry)}.out").read_text())["memory_gb"]["total"]
            measured = found[name].peak_gb - found[dry].peak_gb
            ratio = round(estimate / measured, 2) if measured > 0 else float("nan")
            result[name] = {"estimate_gb": estimate, "measured_gb": round(measured, 2), "ratio": ratio}
    return result


def file_name(stage: str) -> str:
    return re.sub(r"\W+", "_", stage)


def table(found: dict[str, Measured]) -> str:
    """The measurements as a table in Markdown."""
    lines = [
        "| stage | seconds | peak GB | of it anonymous | longest silence, s | load before |",
        "|---|" + "---:|" * 5,
    ]
    for name, m in found.items():
        mark = " **fault**" if m.longest_silence > SILENCE else ""
        failed = "" if m.ok else f" (exit {m.returncode})"
        lines.append(
            f"| {name}{failed} | {m.seconds:.0f} | {m.peak_gb:.2f} | {m.peak_anonymous_gb:.2f} "
            f"| {m.longest_silence:.0f}{mark} | {m.load_before} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(file.stem for file in MODELS.glob("*.json")))
    parser.add_argument("--work", type=Path, required=True, help="the folder of checkpoint, run and outputs")
    parser.add_argument("--json", type=Path, help="the result, which stages are added to")
    parser.add_argument("--small", action="store_true", help="4 narrow layers")
    parser.add_argument("--vocabulary", type=Path, help="qwen.tiktoken (default: the installed dashscope's)")
    parser.add_argument("--until", metavar="STAGE", help="end after this stage")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    dry = args.model in DRY_RUN_ONLY
    vocabulary = args.vocabulary or vocabulary_file()
    if args.build:
        write_checkpoint(args.model, args.build, vocabulary, small=args.small, weights=not dry)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.json or args.work / "result.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    found = {name: Measured(**values) for name, values in before.get("stages", {}).items()}
    checkpoint = args.work / "checkpoint"
    config = write_inputs(args.work, checkpoint, WHOLE if dry else {})
    build = [sys.executable, __file__, *sys.argv[1:], "--build", str(checkpoint)]
    verbs = stages(args.work, checkpoint, config)[: 2 if dry else None]
    for stage in (Stage("build", build), *verbs):
        if stage.name in found and found[stage.name].ok:
            continue
        command = stage.arguments if stage.name == "build" else [sys.executable, "-m", "reasoner_rm", *stage.arguments]
        print(f"{stage.name} …", file=sys.stderr, flush=True)
        measured = watch(command, args.work / f"{file_name(stage.name)}.out", stage.until)
        if measured.returncode in stage.accepted:
            measured.returncode = 0
        if isinstance(stage.until, Request) and (stage.until.answer is None or stage.until.answer.exception()):
            measured.returncode = measured.returncode or 1
        found[stage.name] = measured
        result = {
            "model": args.model, "small": args.small, "cores": os.cpu_count(), "machine": platform.machine(),
            "stages": {name: asdict(m) for name, m in found.items()}, "memory": compare(found, args.work),
        }  # fmt: skip
        file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        if not measured.ok:
            print((args.work / f"{file_name(stage.name)}.terminal").read_text()[-2000:], file=sys.stderr)
            break
        if stage.name == args.until:
            break
    print(table(found))
    print(json.dumps(compare(found, args.work), indent=1))
    sys.exit(0 if all(m.ok for m in found.values()) else 1)


if __name__ == "__main__":
    main()
