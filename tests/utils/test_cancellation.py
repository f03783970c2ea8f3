"""Cancellation from another thread: what waits is ended, whether it began to wait before or after."""

from __future__ import annotations

import threading

from reasoner_rm.utils.cancellation import Cancellation, on_cancel


def test_what_waits_is_ended_once_and_what_has_ended_is_left_alone() -> None:
    ended: list[str] = []
    work = Cancellation()
    with work.applied():
        with on_cancel(lambda: ended.append("before")):
            pass
        with on_cancel(lambda: ended.append("outer")), on_cancel(lambda: ended.append("inner")):
            caller = threading.Thread(target=work.cancel)
            caller.start()
            caller.join()
            work.cancel()
    assert ended == ["outer", "inner"]


def test_waiting_that_begins_afterwards_is_ended_at_once() -> None:
    ended: list[str] = []
    work = Cancellation()
    work.cancel()
    with on_cancel(lambda: ended.append("outside")):
        pass
    with work.applied(), on_cancel(lambda: ended.append("inside")):
        assert ended == ["inside"]


def test_work_of_others_is_not_ended() -> None:
    ended: list[str] = []
    mine, others = Cancellation(), Cancellation()
    with others.applied(), mine.applied(), on_cancel(lambda: ended.append("mine")):
        others.cancel()
        assert not ended
