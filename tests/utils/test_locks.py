"""Of two processes that write to one place, one is refused; a lock dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import pytest

from reasoner_rm.errors import InputError
from reasoner_rm.log import warn_once
from reasoner_rm.utils.locks import LOCK, file_lock, folder_lock, open_locked

HOLDER = """
import os, sys, time
from pathlib import Path
from reasoner_rm.utils.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(60)
"""
"""The other process: it holds a folder, and has a child that outlives it."""


@pytest.mark.server
def test_the_other_process_is_refused_until_this_one_dies(tmp_path: Path) -> None:
    """It is killed without a chance to tidy up, and what it forked does not keep its lock."""
    place = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, place], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        said = r"run: another process is writing here; wait for it, or [^\n]*$"
        with pytest.raises(InputError, match=said), folder_lock(place):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        with folder_lock(place):
            assert [p.name for p in place.iterdir()] == [LOCK]
        assert not list(place.iterdir())
    finally:
        holder.kill()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


@pytest.mark.parametrize("lock", [folder_lock, file_lock])
def test_nothing_is_left_of_a_lock(lock: Callable[[Path], AbstractContextManager[None]], tmp_path: Path) -> None:
    place = tmp_path / "new" / "place"
    for _ in range(2):
        with lock(place):
            with pytest.raises(InputError, match="place: another process is writing here"), lock(place):
                pass
            with lock(tmp_path / "new" / "another"):
                pass
        assert not list(tmp_path.iterdir())
    with folder_lock(place):
        (place / "file").write_text("what was made stays")
    assert [p.name for p in place.iterdir()] == ["file"]


def test_who_waits_gets_it_next(tmp_path: Path) -> None:
    """Ten at a time read a number, and write the next one."""
    file = tmp_path / "number"
    file.write_text("0")

    def count() -> None:
        for _ in range(20):
            with file_lock(file, wait=True):
                number = int(file.read_text())
                file.write_text(str(number + 1))

    threads = [threading.Thread(target=count) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_text() == "200" and list(tmp_path.iterdir()) == [file]


def test_a_file_system_without_locks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warn_once.cache_clear()
    with (
        mock.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOSYS, "Function not implemented")),
        folder_lock(tmp_path),
    ):
        pass
    assert "this file system has no locks (Function not implemented): start one process at a time" in (
        capsys.readouterr().err
    )


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"), folder_lock(place):
        pass
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory\)"):
        open_locked(tmp_path)
