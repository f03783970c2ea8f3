"""A model in a process of its own: the same answers, to many threads at once, and what happens when it dies."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fake_engine import COLOURS, picture
from judge_server import serving, uri, user
from raw_http import eventually
from server_clients import HostileClients, ask_alone, crowd, good_requests

from reasoner_rm import Judge, Sample
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.models.loading import Vlm
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.schema import Completion
from reasoner_rm.server.app import create_app
from reasoner_rm.serving.ipc import GenerateMessage, ModelSpec
from reasoner_rm.serving.process_engine import ProcessEngine, open_process_engine
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.utils.cancellation import Cancellation

HOW = {"template": "brief", "max_tokens": 24}


@pytest.fixture(scope="module")
def folder(tiny: Vlm, perturbed: Callable[[Vlm], Vlm], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that looks at its images, and whose likeliest tokens are no near ties."""
    vlm, path = perturbed(tiny), tmp_path_factory.mktemp("stirred")
    vlm.model.save_pretrained(path)
    vlm.processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def far(folder: Path) -> Iterator[Judge]:
    judge = Judge.from_pretrained(folder, "transformers", isolate=True, **HOW)
    yield judge
    judge.engine.close()


@pytest.fixture(scope="module")
def near(folder: Path) -> Judge:
    return Judge.from_pretrained(folder, "transformers", **HOW)


def engine_of(judge: Judge) -> ProcessEngine:
    assert isinstance(judge.engine.engine, ProcessEngine)
    return judge.engine.engine


def ask(judge: Judge, i: int) -> list[Completion]:
    """A comparison of its own: caption, colours, sizes of pictures, votes."""
    rng = random.Random(i)
    a, b = (picture(rng.choice(sorted(COLOURS)), rng, side=rng.choice((28, 56, 112, 140))) for _ in range(2))
    sample = Sample(f"s{i}", "image_preference", f"a thing, {'very ' * rng.randrange(9)}red", images=(a, b))
    (votes,) = judge.collect_votes([sample], votes=1 + i % 3, both_orders=i % 2 == 0)
    return [vote.completion for vote in votes]


def test_a_watcher_that_fails_fails_its_own_call(far: Judge) -> None:
    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    sample = Sample("s", "image_preference", "red", images=(picture("red", random.Random(0)),) * 2)
    for _ in range(2):  # the second asks the same process
        with pytest.raises(ZeroDivisionError):
            far.collect_votes([sample], votes=1, both_orders=False, on_text=fail)
    assert ask(far, 0)


def test_many_threads_get_the_words_of_a_model_in_this_process(far: Judge, near: Judge) -> None:
    """Greedy and sampled, one vote and three, images of unlike sizes, all joining each other."""
    beside: list[int] = []
    far.engine.observe(lambda callers, items: beside.append(callers))
    with ThreadPoolExecutor(16) as threads:
        got = list(threads.map(lambda i: ask(far, i), range(24)))
    for i, rows in enumerate(got):
        for here, there in zip(ask(near, i), rows, strict=True):
            assert (here.text, here.token_ids, here.finish_reason) == (there.text, there.token_ids, there.finish_reason)
            assert here.logprobs == pytest.approx(there.logprobs, abs=2e-5)
    assert max(beside) > 4, "they were under way together"


def test_a_text_is_told_as_it_grows(far: Judge, near: Judge) -> None:
    seen: dict[str, list[str]] = {"far": [], "near": []}
    sample = Sample("s", "image_preference", "red", images=(picture("red"), picture("blue")))
    for judge, texts in ((far, seen["far"]), (near, seen["near"])):
        judge.verdicts([sample], on_text=texts.append)
    assert seen["far"] == seen["near"] and len(seen["far"]) == 24


def test_beliefs_are_the_models_own(far: Judge, near: Judge) -> None:
    samples = [Sample(f"s{i}", "image_preference", "red", images=(picture("red"), picture("blue"))) for i in range(3)]
    texts = [["<think>One.</think>", "no thought"], ["<think>Two is red.</think>"], ["<think>Both.</think>"]]
    template = near.template("image_preference")
    ours, theirs = (judge.engine.beliefs(template, samples, texts) for judge in (near, far))
    assert theirs[0][1] is None
    for mine, his in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        assert (mine is None) == (his is None)
        assert mine is None or mine.probs == pytest.approx(his.probs, abs=1e-5)


def test_an_error_finds_its_own_caller_and_the_model_goes_on(far: Judge, near: Judge) -> None:
    """A prompt whose images are not those that its tokens stand for, among sound ones."""
    engine = engine_of(far)
    good = engine.encoder.encode(Prompt((picture("red"), "red"), (True, False)))
    image = good.images[0]
    shown = ((image.key, image.pixel_values.numpy()[:4], image.grid_thw.numpy(), image.original, image.processed),)
    with ThreadPoolExecutor(4) as threads:
        others = [threads.submit(ask, far, i) for i in range(4)]
        broken = engine._ask(
            lambda ticket: GenerateMessage(ticket, good.input_ids, shown, (0,), SamplingParams(0.0, 4), False)
        )
        with pytest.raises(RuntimeError, match="Error: "):
            broken.answer.result(60)
        assert [o.result(60) is not None for o in others] == [True] * 4
    assert ask(far, 3)[0].text == ask(near, 3)[0].text


def test_a_cancelled_call_ends_at_once_and_its_rows_leave_the_batch(far: Judge, near: Judge) -> None:
    """With rows of others beside it, which get their own."""
    engine, cancellation = engine_of(far), Cancellation()
    together: list[int] = []
    far.engine.observe(lambda callers, items: together.append(callers))

    def endless() -> None:
        with cancellation.applied():
            engine.generate([GenerationRequest(Prompt(("x",), (False,)), (1, 2))] * 3, SamplingParams(1.0, 100_000))

    with ThreadPoolExecutor(5) as threads:
        waiting = threads.submit(endless)
        others = [threads.submit(ask, far, i) for i in range(4)]
        assert others[0].result(60) and not waiting.done() and max(together) > 2
        cancellation.cancel()
        with pytest.raises(CancelledError):
            waiting.result(10)
        for i, rows in enumerate(others):
            assert [c.text for c in rows.result(60)] == [c.text for c in ask(near, i)]
    together.clear()
    assert ask(far, 1)[0].text == ask(near, 1)[0].text and set(together) == {1}, "no row of it runs on"
    assert not engine._pending


def test_odd_sampling_settings_of_one_client_change_no_answer_of_others(far: Judge, near: Judge) -> None:
    """Through the server, all at once; each body is a completion of its own seed."""
    pictures = [uri(picture("red")), uri(picture("blue"))]
    odd = ({"temperature": 1e-40}, {"temperature": 5e-324}, {"top_p": 5e-324, "temperature": 0.01}, {"seed": 10**399},
           {"max_tokens": 10**9, "temperature": 2.0}, {"temperature": 0.01}, {"n": 16, "top_p": 1e-300})  # fmt: skip

    def post(settings: dict[str, object]) -> tuple[int, str]:
        body = {"messages": [user("a red thing", *pictures)], **settings}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        return answer.status_code, str(answer.json().get("choices"))

    good = [{"seed": i, "temperature": 1.0, "max_tokens": 12, "logprobs": False} for i in range(12)]
    mixed = [body for i, body in enumerate(good) for body in (body, odd[i % len(odd)])]
    with serving(create_app(far)) as url, ThreadPoolExecutor(24) as threads:
        alone = [post(body) for body in good]
        assert len(set(alone)) == len(good)
        answers = list(threads.map(post, mixed))
    assert answers[::2] == alone
    assert {status for status, _ in answers[1::2]} == {200, 400, 422}


def test_each_good_client_among_hostile_ones_gets_its_answer(far: Judge) -> None:
    """The small form of benchmarks/hostile_clients.py."""
    rng = random.Random(3)
    pictures = [picture(colour, rng, side=56) for colour in COLOURS]
    good = good_requests(32, pictures)
    with serving(create_app(far)) as url:
        alone = ask_alone(url, good)
        assert len(set(alone)) >= 20
        outcome = crowd(HostileClients(url, pictures[0]), good, alone, requests=200, threads=16)
        assert not outcome.wrong and not outcome.failures
        assert sum(outcome.statuses.values()) == 20
        assert eventually(lambda: httpx.get(f"{url}/health").json()["in_flight"] == 0)
    assert not engine_of(far)._pending


def test_an_image_that_cannot_be_used_is_told_before_anything_is_asked(far: Judge) -> None:
    with pytest.raises(InputError, match="broken image"):
        far.engine.generate([GenerationRequest(Prompt((b"no", "x"), (True, False)), (0,))], SamplingParams(0.0, 4))


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a checkpoint"):
        open_process_engine(ModelSpec(str(tmp_path)))


def test_a_killed_model_fails_everybody_at_once_and_the_server_says_so(far: Judge) -> None:
    """Last in this file: nobody asks it afterwards."""
    engine, ended = engine_of(far), threading.Event()
    far.engine.on_failure(ended.set)
    slow = [GenerationRequest(Prompt((f"question {i}",), (False,)), (i,)) for i in range(40)]
    body = {"caption": "red", "image_a": uri(picture("red")), "image_b": uri(picture("blue"))}
    with serving(create_app(far)) as url, ThreadPoolExecutor(1) as threads:
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        waiting = threads.submit(engine.generate, slow, SamplingParams(1.0, 4000))
        time.sleep(0.3)
        assert not waiting.done() and engine.process.pid is not None
        os.kill(engine.process.pid, signal.SIGKILL)
        with pytest.raises(ServiceError, match="the model's process was ended by SIGKILL"):
            waiting.result(20)
        assert ended.wait(20)
        with pytest.raises(ServiceError, match="SIGKILL"):
            far.compare("red", picture("red"), picture("blue"))
        health = httpx.get(f"{url}/health")
        assert health.status_code == 503 and "SIGKILL" in health.json()["status"]
        for stream in (False, True):
            answer = httpx.post(f"{url}/v1/compare", json={**body, "stream": stream})
            assert "the model does not answer" in answer.text
            assert answer.status_code == (200 if stream else 503), "a stream has begun with 200"
        assert "retry-after" in httpx.post(f"{url}/v1/compare", json=body).headers
