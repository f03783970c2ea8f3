"""Work in a forked process that is watched: how it ends, what it prints, its time and memory, and which files it opens.

What the parent has imported need not be imported again, so that a verb takes a tenth of a second. Python's own opens,
connections and programs are recorded by an audit hook; opens of watched files are seen from outside, also those of
libraries that are not written in Python.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

OPENED = 0x20
"""inotify's IN_OPEN."""
EVENTS = ("open", "socket.connect", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork")


@dataclass(frozen=True, slots=True)
class Ended:
    """How work ended: an exit code, or the negative number of a signal. ``events``: what it opened or started."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mb: int
    events: tuple[tuple[str, str], ...]
    watched: tuple[str, ...]


def run_watched(
    work: Callable[[], None], *, seconds: int = 60, memory: int = 8 * 2**30, watch: Iterable[Path] = ()
) -> Ended:
    """Run ``work`` in a fork of this process; a traceback ends it with 1, as in a process of its own.

    Args:
        seconds: after which it is killed.
        memory: bytes of address space beyond what this process has.
        watch: files of which every opening is noticed.
    """
    watcher = _Watcher(watch)
    started = time.monotonic()
    with TemporaryFile() as out, TemporaryFile() as err, TemporaryFile() as seen:
        child = os.fork()
        if not child:
            _be_watched(work, (out.fileno(), err.fileno()), seen.fileno(), seconds, memory)
        _, status, usage = os.wait4(child, 0)
        for file in (out, err, seen):
            file.seek(0)
        return Ended(
            os.waitstatus_to_exitcode(status),
            out.read().decode("utf-8", "replace"),
            err.read().decode("utf-8", "replace"),
            time.monotonic() - started,
            usage.ru_maxrss // 1024,
            tuple(_unpickled(seen)),
            watcher.opened(),
        )


def _be_watched(work: Callable[[], None], outputs: tuple[int, int], seen: int, seconds: int, memory: int) -> None:
    code = 1
    try:
        for number, file in enumerate(outputs, start=1):
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        signal.alarm(seconds)
        sys.addaudithook(lambda name, args: _record(seen, name, args) if name in EVENTS else None)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _record(seen: int, name: str, args: tuple[object, ...]) -> None:
    if args and isinstance(args[0], (str, bytes, Path)):
        os.write(seen, pickle.dumps((name, os.path.abspath(os.fsdecode(args[0])))))
    elif name != "open":
        os.write(seen, pickle.dumps((name, repr(args)[:200])))


def _unpickled(file: object) -> Iterable[tuple[str, str]]:
    while True:
        try:
            yield pickle.load(file)  # type: ignore[arg-type]  # a file that this module wrote
        except EOFError:
            return


class _Watcher:
    """Notices which of some files are opened, by inotify."""

    def __init__(self, files: Iterable[Path]):
        self._library = ctypes.CDLL(None, use_errno=True)
        self._handle = self._library.inotify_init1(os.O_NONBLOCK)
        self._names = {
            self._library.inotify_add_watch(self._handle, os.fsencode(file), OPENED): str(file) for file in files
        }

    def opened(self) -> tuple[str, ...]:
        """Those that were opened since; ends the watch."""
        found = set[str]()
        while select.select([self._handle], [], [], 0)[0]:
            data = os.read(self._handle, 4096)
            for at in range(0, len(data), 16):
                found.add(self._names.get(int.from_bytes(data[at : at + 4], sys.byteorder), "?"))
        os.close(self._handle)
        return tuple(sorted(found))
