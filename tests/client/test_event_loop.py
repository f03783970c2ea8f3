"""One event loop for all threads of a process, and another for each forked process."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import SimpleQueue

import pytest
from chat_server import ChatServer, Reply, chat

from reasoner_rm.client import event_loop
from reasoner_rm.client.openai_client import CHAT, OpenAIClient
from reasoner_rm.config import EndpointSection

pytestmark = pytest.mark.server

Serve = Callable[..., ChatServer]


def ask_from_threads(client: OpenAIClient, n: int) -> list[str]:
    start = threading.Barrier(n)

    def ask(i: int) -> str:
        start.wait()
        answer = client.post(CHAT, {"model": "m", "messages": [{"role": "user", "content": str(i)}]})
        return str(answer["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(ask, range(n)))


def test_threads_that_ask_first_at_once_share_a_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of `data distil --resume`, before anything else was asked."""
    server = serve(lambda body: Reply(chat(body["messages"][0]["content"]), after=0.01))
    new_loop, made = asyncio.new_event_loop, []

    def slow_loop() -> asyncio.AbstractEventLoop:
        time.sleep(0.05)
        made.append(new_loop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", slow_loop)
    event_loop._thread.forget()
    client = OpenAIClient(EndpointSection(urls=(server.url,), model="m", concurrency=2))
    assert ask_from_threads(client, 8) == [str(i) for i in range(8)]
    assert len(made) == 1


def test_a_forked_process_asks_with_the_same_client(serve: Serve) -> None:
    server = serve(lambda body: Reply(chat(body["messages"][0]["content"]), after=0.01))
    client = OpenAIClient(EndpointSection(urls=(server.url,), model="m", concurrency=1))
    assert ask_from_threads(client, 3) == ["0", "1", "2"]
    context = multiprocessing.get_context("fork")
    answers: SimpleQueue[list[str]] = context.SimpleQueue()
    process = context.Process(target=lambda: answers.put(ask_from_threads(client, 3)))
    process.start()
    process.join(20)
    assert process.exitcode == 0 and answers.get() == ["0", "1", "2"]
    assert ask_from_threads(client, 3) == ["0", "1", "2"]
