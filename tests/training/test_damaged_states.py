"""A training by the shell's own verb whose states and records are damaged: the state before is taken, or one line."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from file_limit import file_limit
from PIL import Image
from safetensors.torch import load_file
from shell import Outcome, shell

from reasoner_rm.data.io import write_samples
from reasoner_rm.log import warn_once
from reasoner_rm.schema import Sample
from reasoner_rm.training import checkpoints
from reasoner_rm.training.checkpoints import Checkpoints
from reasoner_rm.training.run_dir import RunDir
from reasoner_rm.training.sft import SFTTrainer
from reasoner_rm.utils.locks import folder_lock

pytestmark = pytest.mark.slow
STEPS = 6
FILES = ("best.safetensors", "manifest.json", "optimizer.pt", "progress.json", "rng_state_0.pt", "scheduler.pt",
         "trainable.safetensors")  # fmt: skip


class Begun:
    """A training that was killed at its fifth step, with states after the second and the fourth."""

    def __init__(self, folder: Path, config: Path):
        self.folder, self.config = folder, config

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def sft(self, *options: str) -> Outcome:
        warn_once.cache_clear()
        return shell("sft", self.config, "--set", f"run.out={self.run}", *options)

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.run / "final" / "model.safetensors")


@pytest.fixture(scope="module")
def killed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    folder = tmp_path_factory.mktemp("killed")
    pictures = [str(folder / f"{i}.png") for i in range(2)]
    for i, path in enumerate(pictures):
        Image.new("RGB", (56, 56), (90 * i, 120, 200)).save(path)
    target = "<think>Image 1 shows a square.</think><answer>Image 1 is better</answer>"
    samples = [
        Sample(str(i), "image_preference", f"cube {i}", tuple(pictures), gold={"p_first": 1.0}, target=target)
        for i in range(4)
    ]
    write_samples(folder / "samples.jsonl", samples)
    config = folder / "config.yaml"
    sft = {
        "learning_rate": 1e-3, "max_steps": STEPS, "batch_size": 2, "save_steps": 2, "save_total_limit": 2,
        "eval_steps": 2, "metric_for_best_model": "accuracy",
    }  # fmt: skip
    config.write_text(json.dumps({
        "model": {"path": str(tiny_folder)}, "data": {"cold_start": "samples.jsonl", "heldout": "samples.jsonl"},
        "sft": sft, "eval": {"limit": 1, "max_completion_length": 2, "blank_images": False},
    }))  # fmt: skip
    begun = Begun(folder, config)
    log = RunDir.log

    def killing(run: RunDir, stage: str, step: int, values: Any) -> None:
        if step == STEPS - 1:
            raise KeyboardInterrupt
        log(run, stage, step, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDir, "log", killing)
        assert begun.sft().returncode == 1
    states = Checkpoints(begun.run / "checkpoints" / "cold_start.steps", 2, 2)
    assert states.steps() == [2, 4]
    assert sorted(p.name for p in (states.folder / "0000004").iterdir()) == sorted(FILES)
    return begun


@pytest.fixture
def begun(killed: Begun, tmp_path: Path) -> Begun:
    shutil.copytree(killed.run, tmp_path / "run")
    return Begun(tmp_path, killed.config)


@pytest.fixture(scope="module")
def undisturbed(killed: Begun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of the training resumed without damage."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(killed.run, folder / "run")
    whole = Begun(folder, killed.config)
    done = whole.sft("--resume")
    assert done.returncode == 0 and "cold_start: resumed after step 4" in done.stderr
    return whole.weights()


def flip(file: Path, rng: random.Random) -> None:
    """Change one bit somewhere."""
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def test_a_bit_of_any_file_of_a_state(
    begun: Begun, killed: Begun, undisturbed: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the state before it is taken. From there the training ends with the weights of the undisturbed one."""
    rng = random.Random(0)

    def damaged(name: str) -> None:
        shutil.rmtree(begun.run)
        shutil.copytree(killed.run, begun.run)
        flip(begun.run / "checkpoints" / "cold_start.steps" / "0000004" / name, rng)

    for name in FILES:
        damaged(name)
        with monkeypatch.context() as patch:  # the first step after what was loaded
            patch.setattr(SFTTrainer, "collect", lambda trainer, number: sys.exit(100 + number))
            done = begun.sft("--resume")
        assert done.returncode == 102, (name, done.stderr)
        assert "0000004: damaged (" in done.stderr and "the state before it is taken" in done.stderr, name
        assert "cold_start: resumed after step 2" in done.stderr
    damaged(rng.choice(FILES))
    assert begun.sft("--resume").returncode == 0
    assert all(torch.equal(begun.weights()[n], weight) for n, weight in undisturbed.items())
    steps = [json.loads(line)["step"] for line in (begun.run / "metrics.jsonl").open()]
    assert steps == list(range(1, STEPS + 1))


def test_a_bit_of_every_state_is_one_line(begun: Begun) -> None:
    rng = random.Random(1)
    for state in (begun.run / "checkpoints" / "cold_start.steps").iterdir():
        flip(state / rng.choice(FILES), rng)
    done = begun.sft("--resume")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "cold_start.steps: all 2 states are damaged; remove the folder to begin the stage anew"
    )


def test_a_state_is_read_once(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    checksum = checkpoints._checksum

    def counted(file: Path) -> str:
        read.append(file)
        return checksum(file)

    monkeypatch.setattr(checkpoints, "_checksum", counted)
    monkeypatch.setattr(SFTTrainer, "collect", lambda trainer, number: sys.exit(3))
    assert begun.sft("--resume").returncode == 3
    assert sorted(file.name for file in read) == sorted(set(FILES) - {"manifest.json"})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "summary.json",
            b'{"stages": {',
            r"run/summary\.json:1: not valid JSON: .*; repair it, or remove it",
        ),
        ("summary.json", b"\xff{}", r"run/summary\.json: not valid JSON: .*utf-8"),
        ("summary.json", b"[]", r"run/summary\.json: a row is a JSON object, this is list"),
        ("config.resolved.yaml", b"task: [", r"run/config\.resolved\.yaml:1: not valid YAML: .*; repair it, or remove"),
        ("config.resolved.yaml", b"\xff", r"run/config\.resolved\.yaml: not valid YAML: .*utf-8"),
        ("config.resolved.yaml", b"- task", r"run/config\.resolved\.yaml: expected a mapping, this is list"),
    ],
)
def test_a_damaged_record_of_a_run_is_one_line_before_anything_is_loaded(
    name: str, content: bytes, said: str, begun: Begun
) -> None:
    (begun.run / name).write_bytes(content)
    done = begun.sft("--resume")
    assert done.returncode == 2 and re.search(rf"^error: .*{said}", done.stderr.splitlines()[-1])
    assert (begun.run / name).read_bytes() == content


def test_damaged_lines_are_named_and_a_lost_config_is_written_again(
    begun: Begun, undisturbed: dict[str, torch.Tensor]
) -> None:
    """What can be done without is; the training is none the worse for it."""
    (begun.run / "config.resolved.yaml").unlink()
    metrics = begun.run / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(
        b"".join([lines[0], b'{"stage": "cold_start", "step": \n', b"[2]\n", b'{"a": "\xff"}\n', *lines[1:]])
    )
    done = begun.sft("--resume")
    assert done.returncode == 0, done.stderr
    assert "metrics.jsonl:2: not valid JSON" in done.stderr and "; 2 lines more; left out" in done.stderr
    assert [json.loads(line)["step"] for line in metrics.open()] == list(range(1, STEPS + 1))
    assert (begun.run / "config.resolved.yaml").is_file()
    assert all(torch.equal(begun.weights()[n], weight) for n, weight in undisturbed.items())


def test_two_processes_do_not_train_in_one_run(begun: Begun) -> None:
    before = sorted(p.name for p in begun.run.rglob("*"))
    with folder_lock(begun.run):
        done = begun.sft("--resume")
    line = f"error: {begun.run}: another process is writing here; wait for it, or give another place\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert sorted(p.name for p in begun.run.rglob("*")) == before


def test_a_full_disk_is_one_line_and_leaves_the_states(begun: Begun, undisturbed: dict[str, torch.Tensor]) -> None:
    """At the records, at the best weights, at the optimizer. With room again the training goes on."""
    states = begun.run / "checkpoints" / "cold_start.steps"
    weights = (states / "0000004" / "trainable.safetensors").stat().st_size
    for limit, place in ((100, "config.resolved.yaml"), (weights - 1, ".best.safetensors"), (weights, ".writing")):
        shutil.rmtree(states / "0000004", ignore_errors=True)
        with file_limit(limit):
            done = begun.sft("--resume")
        line = done.stderr.splitlines()[-1]
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert line.startswith("error: ") and f"{place}: cannot be written (File too large); make room" in line
        left = [p for p in begun.run.rglob("*") if ".writing" in p.name or (p.name.startswith(".") and p.is_file())]
        assert not left and [p.name for p in states.iterdir()] == ["0000002"]
    assert begun.sft("--resume").returncode == 0
    assert all(torch.equal(begun.weights()[n], weight) for n, weight in undisturbed.items())
