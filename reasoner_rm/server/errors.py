"""Errors in OpenAI's format: a status and one JSON object, which never quotes the request's content."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from reasoner_rm.errors import InputError, ServiceError


class ApiError(HTTPException):
    """A rejected request. ``param`` names the invalid field; ``retry_after`` is in seconds."""

    def __init__(self, status: int, message: str, *, param: str | None = None, retry_after: int | None = None):
        super().__init__(status, message)
        self.status, self.message, self.param, self.retry_after = status, message, param, retry_after


MODEL_UNAVAILABLE = ApiError(503, "the model does not answer", retry_after=5)
"""The response to a `ServiceError`. The service's name and address are not disclosed."""


CLIENT_GONE = 499
"""The status in the metrics of a request whose client disconnected, as nginx counts it."""


def client_gone() -> ApiError:
    return ApiError(CLIENT_GONE, "the client has disconnected")


def closing() -> ApiError:
    return ApiError(503, "the server is closing", retry_after=5)


def response(error: ApiError) -> JSONResponse:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not received
    return JSONResponse(body(error.status, error.message, error.param), error.status, headers)


def body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def install(app: FastAPI) -> None:
    """Register a response for every exception that a route can raise."""

    @app.exception_handler(ApiError)
    async def rejected(request: Request, error: ApiError) -> JSONResponse:
        return response(error)

    @app.exception_handler(InputError)
    async def invalid_input(request: Request, error: InputError) -> JSONResponse:
        return JSONResponse(body(400, str(error)), 400)

    @app.exception_handler(ServiceError)
    async def model_unavailable(request: Request, error: ServiceError) -> JSONResponse:
        return response(MODEL_UNAVAILABLE)

    @app.exception_handler(RequestValidationError)
    async def invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][1:8])
        return JSONResponse(body(422, f"{where or 'body'}: {first['msg'][:200]}", where or None), 422)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(body(error.status_code, str(error.detail)[:200]), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(body(500, f"the server failed: {type(error).__name__}"), 500)
