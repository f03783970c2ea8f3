"""The client of OpenAI-compatible servers: several replicas, retries, a rate limit, a budget.

Requests run on one event loop in a thread of its own; callers use blocking calls, from any thread.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import queue
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from reasoner_rm.client.budget import OutOfBudget, RateLimiter, Usage
from reasoner_rm.client.event_loop import event_loop
from reasoner_rm.client.http_errors import RequestRejected, message_of, rejection, retry_after
from reasoner_rm.client.judge_server import OWNER, complete_prompt_name
from reasoner_rm.client.replicas import NoHealthyReplica, Replica, Replicas
from reasoner_rm.config import EndpointSection
from reasoner_rm.errors import InputError, ServiceError
from reasoner_rm.utils.cancellation import on_cancel

if TYPE_CHECKING:
    import httpx

Body: TypeAlias = Mapping[str, Any]

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before a request is sent again: each time about twice as long."""
CONNECT = 10.0
"""Seconds for a connection."""
CONNECT_RETRIES = 2
"""Retries of a connection to a server that never answered: the address is probably wrong."""
CHAT = "/chat/completions"


@dataclass(frozen=True, slots=True)
class HttpJob:
    """A request whose body is built just before it is sent, so that only images of requests under way are in memory.

    ``affinity``: requests with the same value go to the same replica while it answers.
    """

    path: str
    body: Callable[[], Body]
    affinity: int | None = None


class OpenAIClient:
    """A client of one server, or of several that serve the same model."""

    def __init__(self, section: EndpointSection):
        self.section = section
        self.urls = tuple(url.rstrip("/") for url in section.urls)
        self.cost = Usage(section.input_price, section.output_price, section.budget)
        self._replicas = Replicas([Replica(url) for url in self.urls], patience=section.retries)
        self._requests, self._tokens = RateLimiter(section.requests_per_minute), RateLimiter(section.tokens_per_minute)
        self._answered: float | None = None
        self._session: _Session | None = None

    # --- public methods -----------------------------------------------------------------------------------------

    @functools.cached_property
    def model_info(self) -> Mapping[str, Any]:
        """The server's entry of the model: `id`, `owned_by`, and with vLLM `max_model_len`.

        Raises:
            InputError: no server answers, it is not OpenAI-compatible, or it does not serve the model.
        """
        found = self._wait(self._call("GET", "/models", None))
        match found:
            case {"data": [*models]} if all(isinstance(m, dict) and "id" in m for m in models):
                pass
            case _:
                raise InputError(f"{self.urls[0]} is no OpenAI-compatible server", remedy="give its URL up to /v1")
        names = [str(m["id"]) for m in models]
        wanted = complete_prompt_name(models, self.section.model)
        if not wanted and len(models) != 1:
            raise InputError(f"{self.urls[0]} serves {len(names)} models", remedy=f"name one: {', '.join(names)}")
        if wanted and wanted not in names:
            raise InputError(f"{self.urls[0]} has no model {wanted!r}", remedy=f"it serves: {', '.join(names[:8])}")
        return models[names.index(wanted) if wanted else 0]  # type: ignore[no-any-return]

    @property
    def model(self) -> str:
        """The name of the model in requests with complete prompts. A server that was asked for its models says it."""
        if self.section.model and "model_info" not in self.__dict__:
            return self.section.model
        return str(self.model_info["id"])

    @functools.cached_property
    def judge_info(self) -> Mapping[str, Any] | None:
        """What a judge's server says about its judge (`GET /v1/judge`): model, task, prompt template, temperature and
        token limit. None of other servers.

        Raises:
            InputError, ServiceError: as of `model_info`.
        """
        if self.model_info.get("owned_by") != OWNER:
            return None
        found = self._wait(self._call("GET", "/judge", None))
        return found if isinstance(found, dict) else {}

    def post(self, path: str, body: Body) -> Any:
        """One answer.

        Raises:
            InputError: the request is rejected, or the server never answered.
            ServiceError: the server failed or stopped answering.
            OutOfBudget: the budget is used up.
        """
        return self._wait(self._do(HttpJob(path, lambda: body)))

    def post_to_all(self, path: str, body: Body) -> list[Any]:
        """The answer of every replica. A replica that does not answer is asked again; no other takes its place.

        Raises:
            InputError, ServiceError: as `post`.
        """

        async def every() -> list[Any]:
            data = json.dumps(body).encode()
            return await asyncio.gather(
                *(self._call("POST", path, data, of=replica) for replica in self._replicas.each)
            )

        return list(self._wait(every()))

    def stream(self, jobs: Sequence[HttpJob]) -> Iterator[tuple[int, Any]]:
        """Each job's index with its answer, or with the ServiceError or RequestRejected, in the order of completion.

        Requests under way are cancelled when the caller stops iterating.

        Raises:
            InputError, OutOfBudget: as `post`.
        """
        done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

        async def one(place: int, job: HttpJob) -> None:
            try:
                done.put((place, await self._do(job)))
            except Exception as error:
                done.put((place, error))

        async def every() -> None:
            async with asyncio.TaskGroup() as group:
                for place, job in enumerate(jobs):
                    group.create_task(one(place, job))

        running = asyncio.run_coroutine_threadsafe(every(), event_loop())
        try:
            with on_cancel(lambda: done.put((0, CancelledError()))):
                for _ in jobs:
                    place, answer = done.get()
                    is_failure = isinstance(answer, (ServiceError, RequestRejected))
                    if isinstance(answer, Exception) and (not is_failure or isinstance(answer, OutOfBudget)):
                        raise answer
                    yield place, answer
        finally:
            running.cancel()

    # --- one request ----------------------------------------------------------------------------------------------

    def _wait(self, work: Any) -> Any:
        running = asyncio.run_coroutine_threadsafe(work, event_loop())
        try:
            with on_cancel(running.cancel):
                return running.result()
        finally:
            running.cancel()

    async def _do(self, job: HttpJob) -> Any:
        async with self._current_session().slots:
            self.cost.check()
            body = await asyncio.to_thread(job.body)
            expected = self._expected(body)
            await self._requests.take(1)
            await self._tokens.take(expected)
            answer = await self._call("POST", job.path, json.dumps(body).encode(), job.affinity)
            usage = answer.get("usage") if isinstance(answer, dict) else None
            used = self.cost.add(usage if isinstance(usage, dict) else {})
            self._tokens.correct(used - expected)
            return answer

    def _expected(self, body: Body) -> float:
        """Estimated tokens of a request: the mean of those before it; of the first, the most that it may generate."""
        known = self.cost.input_tokens + self.cost.output_tokens
        return known / self.cost.requests if known else (body.get("max_tokens") or 0) * (body.get("n") or 1)

    async def _call(
        self, method: str, path: str, data: bytes | None, affinity: int | None = None, of: Replicas | None = None
    ) -> Any:
        """Send until it is answered, rejected, or out of retries."""
        replicas = of or self._replicas
        failed, wait, began = 0, FIRST_WAIT, time.monotonic()
        while True:
            try:
                replica = await replicas.free(affinity)
            except NoHealthyReplica as gone:
                raise self._failure(str(gone)) from None
            try:
                return await self._try(replica, method, path, data)
            except _Busy as busy:
                replica.pause(max(busy.after, _jittered(wait)))
                if time.monotonic() - max(began, self._answered or 0) > self.section.timeout:
                    raise self._failure(f"{replica.url} answers nothing but 429 (too many requests)") from None
            except _Failed as error:
                replica.failed(str(error))
                failed += 1
                never_there = error.unreachable and self._answered is None
                if failed > min(self.section.retries, CONNECT_RETRIES if never_there else self.section.retries):
                    raise self._failure(f"{replica.url}: {error}") from None
                await asyncio.sleep(_jittered(wait))
            wait = min(2 * wait, LONGEST_WAIT)

    async def _try(self, replica: Replica, method: str, path: str, data: bytes | None) -> Any:
        import httpx

        from reasoner_rm.utils.http_client import ADDRESS_ERRORS, describe, through

        url = replica.url + path
        replica.busy += 1
        try:
            answer = await self._current_session().http.request(method, url, content=data, headers=self._headers())
        except ADDRESS_ERRORS as error:
            raise InputError(f"{replica.url!r} is no address ({error})", remedy="give http://HOST:PORT/v1") from None
        except httpx.TransportError as error:
            raise _Failed(describe(error), isinstance(error, httpx.ConnectError)) from None
        finally:
            replica.busy -= 1
        if answer.status_code >= 500:
            what = f"it answers {answer.status_code}{through(url)}"
            raise _Failed(f"{what}: {message_of(answer.text)[0][:120]}".rstrip(": "))
        if answer.status_code == 429 and "insufficient_quota" not in answer.text:
            raise _Busy(retry_after(answer.headers))
        replica.succeeded()
        if not answer.is_success:
            raise rejection(replica.url, answer.status_code, answer.text, self.section)
        try:
            found = answer.json() if answer.content else None
        except ValueError:
            raise InputError(f"{url} answers no JSON: {answer.text[:80]!r}", remedy="give its URL up to /v1") from None
        self._answered = time.monotonic()
        return found

    def _failure(self, what: str) -> InputError | ServiceError:
        """An InputError if the server never answered (a wrong setting), a ServiceError if it stopped answering."""
        if self._answered is None:
            return InputError(what, remedy="check its URL, that it runs and has room, then run the same command again")
        return ServiceError(what, remedy="start it again, then run the same command again")

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.section.api_key_env, "")
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def _current_session(self) -> _Session:
        """The session of the running loop: after a fork a new one."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            import httpx

            from reasoner_rm.utils.http_client import open_async_client

            room = self.section.concurrency
            limits = httpx.Limits(max_connections=room, max_keepalive_connections=room, keepalive_expiry=4.0)
            patience = httpx.Timeout(self.section.timeout, connect=CONNECT)
            self._session = _Session(loop, asyncio.Semaphore(room), open_async_client(limits, timeout=patience))
        return self._session


@dataclass(frozen=True, slots=True)
class _Session:
    """What belongs to an event loop: slots for requests under way, and connections."""

    loop: asyncio.AbstractEventLoop
    slots: asyncio.Semaphore
    http: httpx.AsyncClient


class _Busy(Exception):  # noqa: N818
    def __init__(self, after: float):
        super().__init__()
        self.after = after


class _Failed(Exception):  # noqa: N818
    def __init__(self, what: str, unreachable: bool = False):
        super().__init__(what)
        self.unreachable = unreachable


def _jittered(wait: float) -> float:
    """A random delay between half of it and all of it, so that clients do not retry at the same moment."""
    return wait * random.uniform(0.5, 1.0)
