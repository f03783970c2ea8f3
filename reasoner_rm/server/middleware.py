"""What happens to a request before its route is called: access, its body, a slot; and the end when its client goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reasoner_rm.server import access, errors
from reasoner_rm.server.admission import AdmissionController, RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.uploads import ClientGone


class AdmissionMiddleware:
    """ASGI middleware: checks host, origin and API key; receives the body of a request that may change something, gives
    it a :class:`RequestSlot` in its state, and cancels its work when the client disconnects.

    Args:
        key, hosts: see `access`.
    """

    def __init__(self, app: ASGIApp, admission: AdmissionController, key: str | None, hosts: Collection[str] | None):
        self.app, self.admission, self.key, self.hosts = app, admission, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.monotonic(), 500

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, record_status)
        except ClientGone:
            status = errors.CLIENT_GONE
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.admission.metrics.answered(route, status, time.monotonic() - started)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, method = Headers(scope=scope), scope["method"]
        try:
            access.check_host(headers, self.hosts)
            access.check_origin(method, headers)
            access.check_key(method, scope["path"], headers, self.key)
            if method in access.SAFE_METHODS:
                return await self.app(scope, receive, send)
            self.admission.check_room()
            body, held = await self.admission.uploads.receive(headers, receive)
            slot = self.admission.enter(held)
        except ApiError as error:
            return await errors.response(error)(scope, receive, send)
        scope.setdefault("state", {})["slot"] = slot
        await self._answer(scope, _Client(body, receive, slot), send, slot)

    async def _answer(self, scope: Scope, client: _Client, send: Send, slot: RequestSlot) -> None:
        watching = asyncio.create_task(client.watch())
        try:
            await self.app(scope, client.receive, send)
            self.admission.answered += 1
        finally:
            watching.cancel()
            slot.release()


class _Client:
    """A client whose request is complete: its body, then nothing until it disconnects. A half-closed connection counts
    as closed, as asyncio closes it."""

    def __init__(self, body: bytes, receive: Receive, slot: RequestSlot):
        self._body: bytes | None = body
        self._receive, self._slot = receive, slot
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """The `receive` of the application."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def watch(self) -> None:
        """Cancel the request's work when the client disconnects."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        self._slot.cancel(errors.client_gone())
