"""A server of a judge on loopback, in a thread, and what its clients send."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from PIL import Image

from reasoner_rm.server.runner import bind, uvicorn_config


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The server's address, up to and without a final slash."""
    listening = bind("127.0.0.1", 0)
    judge = hasattr(app.state, "admission")  # the hub of the tests is an app, too
    server = uvicorn.Server(uvicorn_config(app) if judge else uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def uri(image: Image.Image | bytes, kind: str = "png") -> str:
    data = image if isinstance(image, bytes) else encoded(image, kind.upper())
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def user(text: str, *images: str) -> dict[str, Any]:
    """A user message with images behind its text."""
    shown = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {"role": "user", "content": [{"type": "text", "text": text}, *shown]}
