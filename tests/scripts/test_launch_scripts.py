"""The scripts that start a training and its servers, as a shell runs them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from launch_helpers import tidy_environment
from solid_color_samples import write_flat_rows

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = tidy_environment() | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment
    command = [str(SCRIPTS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=settings, start_new_session=True)


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="the extra `deepspeed` is not installed")
def test_a_training_on_two_processes(tiny_folder: Path, tmp_path: Path) -> None:
    """ZeRO-2 by the script's own settings; what it leaves is one run directory, measured by one process."""
    write_flat_rows(tmp_path, 4)
    config = tmp_path / "recipe.yaml"
    config.write_text(
        f"""
run: {{out: {tmp_path / "run"}}}
model: {{path: {tiny_folder}}}
listener: {{path: null}}
data: {{train: rows.jsonl, heldout: rows.jsonl}}
grpo: {{rewards: {{format: 1.0}}, prompts_per_device: 1, gradient_accumulation_steps: 1,
       num_generations: 2, max_steps: 2,
  max_completion_length: 4}}
eval: {{max_completion_length: 4, blank_images: false}}
"""
    )
    ended = script("launch.sh", "2", "zero2", "grpo", str(config))
    assert ended.returncode == 0, ended.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "report.html").is_file() and ended.stdout.count("report: ") == 1


@pytest.mark.vllm
@pytest.mark.parametrize("role", ["listener", "rollouts"])
def test_servers_are_told_what_vllm_knows(role: str, tmp_path: Path) -> None:
    """`vllm serve` itself does not start on a CPU: in its place stands a note of how it was called, which vLLM's own
    parser reads."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    stand_in = tmp_path / "bin" / "vllm"
    stand_in.parent.mkdir()
    note = f'echo "$CUDA_VISIBLE_DEVICES ${{VLLM_SERVER_DEV_MODE:-0}} $*" > {tmp_path}/$CUDA_VISIBLE_DEVICES'
    stand_in.write_text(f"#!/usr/bin/env bash\n{note}\nsleep 1\n")
    stand_in.chmod(0o755)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    ended = script("servers.sh", role, "some/model", "9000", "4,5", "--max-model-len", "8192", PATH=path)
    assert [url.rpartition(":")[2] for url in ended.stdout.split()] == ["9000/v1", "9001/v1"]
    for gpu, port in (("4", 9000), ("5", 9001)):
        device, mode, verb, model, *options = (tmp_path / gpu).read_text().split()
        assert (device, mode, verb, model) == (gpu, str(int(role == "rollouts")), "serve", "some/model")
        known = make_arg_parser(FlexibleArgumentParser()).parse_args(options)
        assert (known.port, known.max_model_len, known.logprobs_mode) == (port, 8192, "processed_logprobs")
        assert bool(known.worker_extension_cls) == (role == "rollouts")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("launch.sh", (), "scripts/launch.sh GPUS KIND VERB CONFIG.yaml"),
        ("launch.sh", ("2", "zero9", "grpo", "x.yaml"), "unknown kind zero9: ddp, zero2"),
        ("slurm.sh", ("zero3",), "sbatch --nodes 4 scripts/slurm.sh"),
        ("servers.sh", ("judge", "m", "9000", "0"), "unknown role judge: listener or rollouts"),
    ],
)
def test_a_wrong_call_says_what_a_right_one_is(name: str, arguments: tuple[str, ...], told: str) -> None:
    ended = script(name, *arguments)
    assert ended.returncode == 2 and told in ended.stdout + ended.stderr
