"""Errors as OpenAI's clients expect them: a status and one JSON object; a request's own content is not sent back."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from reasoner_rm.errors import InputError, ServiceError


class ApiError(HTTPException):
    """A request that is turned down. ``param`` names the field at fault; ``retry_after`` is in seconds."""

    def __init__(self, status: int, message: str, *, param: str | None = None, retry_after: int | None = None):
        super().__init__(status, message)
        self.status, self.message, self.param, self.retry_after = status, message, param, retry_after


MODEL_UNAVAILABLE = ApiError(503, "the model does not answer", retry_after=5)
"""What `ServiceError` comes to. Which service it is, and where, is not told to strangers."""


def answer(refusal: ApiError) -> JSONResponse:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    if refusal.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not wanted
    return JSONResponse(body(refusal.status, refusal.message, refusal.param), refusal.status, headers)


def body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def install(app: FastAPI) -> None:
    """Answer what a handler raises."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(InputError)
    async def wrong(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse(body(400, str(error)), 400)

    @app.exception_handler(ServiceError)
    async def gone(request: Request, error: ServiceError) -> JSONResponse:
        return answer(MODEL_UNAVAILABLE)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][1:6])
        return JSONResponse(body(422, f"{where or 'body'}: {first['msg'][:200]}", where or None), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(body(error.status_code, str(error.detail)[:200]), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(body(500, f"the server failed: {type(error).__name__}"), 500)
