"""The tested versions fit together on a machine with CUDA, too, which is not the one that the tests run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv", path=str(Path(sys.executable).parent))


@pytest.mark.slow
@pytest.mark.skipif(UV is None, reason="uv is not installed")
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_cuda_builds_of_torch_and_vllm_fit_the_constraints(python: str) -> None:
    """Resolves the metadata of PyPI, whose torch and vLLM for Linux are the CUDA builds; nothing is installed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND"))}
    command = [
        str(UV), "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "pyproject.toml",
        "--extra", "dev", "--extra", "vllm", "--constraints", "constraints.txt",
        "--python-platform", "x86_64-manylinux_2_28", "--python-version", python,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    if "error sending request" in done.stderr or "Network" in done.stderr:
        pytest.skip("PyPI cannot be reached")
    assert done.returncode == 0, done.stderr
    chosen = set(done.stdout.split())
    pins = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    heavy = {pin for pin in pins if pin.split("==")[0] in ("torch", "torchvision", "transformers", "trl", "vllm")}
    assert len(heavy) == 5 and heavy <= chosen
    assert any(pin.startswith("nvidia-") for pin in chosen), "the CUDA builds"
