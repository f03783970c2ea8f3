"""`report --watch` beside a run that grows, and how it ends."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reasoner_rm.errors import InputError
from reasoner_rm.report import watch, watching, write_report
from reasoner_rm.report.page import compose
from reasoner_rm.training.run_dir import RunDir

pytestmark = pytest.mark.server


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", "seed: 0\n")


EAGER: dict[str, Any] = {"poll_seconds": 0.02, "max_load": 1.0}


def test_a_run_that_grows_until_it_is_over(run: RunDir) -> None:
    """Whoever reads meanwhile finds whole pages; the last one is of the whole run."""
    report, written, read, over = run.path / "report.html", [], [], threading.Event()
    further = iter((
        lambda: [run.log("grpo", step, {"loss": 1 / step, "reward": 0.1 * step}) for step in range(1, 9)],
        lambda: run.write_json("summary.json", {"stages": {"grpo": {"heldout": {"accuracy": 0.5}}}}),
        lambda: write_report(run.path),
    ))  # fmt: skip

    def goes_on(page: Path) -> None:
        written.append(page.read_text(encoding="utf-8"))
        for step in further:
            step()
            break

    def look() -> None:
        while not over.wait(0.01):
            if report.exists():
                read.append(report.read_text(encoding="utf-8"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    watch(run.path, **EAGER, on_write=goes_on)
    over.set()
    thread.join()
    assert len(written) == 4 and "No metrics have been logged" in written[0] and "No metrics yet" in written[1]
    assert written[2] == written[3] and "50.0 % after" in written[3].replace("\u00a0", " ")
    assert read and all(page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") for page in read)
    assert not [file for file in run.path.iterdir() if file.name.startswith(".report")]


def test_the_end_is_not_missed_while_a_page_is_made(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def compose_slowly(path: Path) -> str:
        page = compose(path)
        if not made:
            write_report(path)
        made.append(page)
        return page

    monkeypatch.setattr(watching, "compose", compose_slowly)
    written: list[Path] = []
    watch(run.path, **EAGER, on_write=written.append)
    assert len(made) == 2 and len(written) == 1


def test_a_run_that_was_over_and_goes_on(run: RunDir) -> None:
    write_report(run.path)
    written: list[Path] = []
    watch(run.path, on_write=written.append)
    assert len(written) == 1, "and that was all"
    run.log("grpo", 1, {"loss": 0.1})  # the report is older than this
    thread = threading.Thread(target=watch, args=(run.path,), kwargs={**EAGER, "on_write": written.append}, daemon=True)
    thread.start()
    thread.join(0.7)
    assert thread.is_alive() and len(written) == 2, "nothing new is not written again"
    write_report(run.path)
    thread.join(20)
    assert not thread.is_alive()


def test_a_run_that_is_taken_away(run: RunDir, tmp_path: Path) -> None:
    def take_away() -> None:
        time.sleep(0.3)
        run.path.rename(tmp_path / "elsewhere")

    thread = threading.Thread(target=take_away)
    thread.start()
    with pytest.raises(InputError, match="not a run directory"):
        watch(run.path, **EAGER)
    thread.join()


def test_ctrl_c_from_the_shell(run: RunDir) -> None:
    run.log("grpo", 1, {"loss": 1.0})
    command = [sys.executable, "-m", "reasoner_rm", "report", str(run.path), "--watch"]
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    assert process.stderr is not None and process.stderr.readline().endswith(" written\n")
    os.kill(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and said.strip() == str(run.path / "report.html")
    assert errors == "stopped watching\n"
    assert json.loads((run.path / "metrics.jsonl").read_text())["step"] == 1 and (run.path / "report.html").is_file()
