"""The server's routes: each validates a body, runs the judge in a thread, and returns the result as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from reasoner_rm.judge.judge import Judge
from reasoner_rm.schema import Sample, Verdict
from reasoner_rm.server import api_docs, chat, errors, flow_grpo, openrlhf, schemas
from reasoner_rm.server.admission import AdmissionController, RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.json_body import BoundedRoute
from reasoner_rm.server.limits import IMAGES, TEXT, VOTES, Limits
from reasoner_rm.server.metrics import Metrics
from reasoner_rm.server.middleware import AdmissionMiddleware
from reasoner_rm.server.streaming import StreamEnd, event, failure, stream_text

PAGE = Path(__file__).with_name("page.html")
CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'"
)


def _slot(request: Request) -> RequestSlot:
    slot: RequestSlot = request.state.slot
    return slot


Slot = Annotated[RequestSlot, Depends(_slot)]


def create_app(
    judge: Judge,
    *,
    name: str = "judge",
    limits: Limits | None = None,
    key: str | None = None,
    urls: bool = False,
    hosts: Collection[str] | None = None,
    flow_grpo_pickle: bool = False,
) -> FastAPI:
    """The server of one judge. ``app.state`` holds its ``admission`` controller and its ``engine``.

    Args:
        name: the model's name in OpenAI's API.
        key: the API key that clients must send; None: none.
        urls: whether images may be given by http address.
        hosts: allowed Host headers; None: any.
        flow_grpo_pickle: serve Flow-GRPO's protocol at `POST /`; for loopback only.
    """
    limits, metrics = limits or Limits(), Metrics()
    admission, decoder = AdmissionController(limits, metrics), ImageDecoder(limits, urls)
    judge.engine.observe(metrics.ran)
    judge.engine.keep_images(limits.image_cache_bytes)
    app = FastAPI(title="reasoner-rm judge", version="1", docs_url=None, redoc_url=None)
    app.router.route_class = BoundedRoute
    app.state.admission, app.state.engine = admission, judge.engine
    app.add_middleware(AdmissionMiddleware, admission=admission, key=key, hosts=hosts)
    errors.install(app)

    def as_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
        for verdict in verdicts:
            metrics.judged(verdict.parsed)
        return [dataclasses.asdict(verdict) for verdict in verdicts]

    # --- comparing ----------------------------------------------------------------------------------------------

    @app.post("/v1/compare", response_model=schemas.VerdictAnswer)
    async def compare(body: schemas.CompareBody, slot: Slot) -> Any:
        """Which of two images fits a caption better."""
        images = await admission.run(slot, lambda: decoder.images([body.image_a, body.image_b], slot))
        sample = Sample("compare", "image_preference", body.caption, images=tuple(images))
        judge.template(sample.task)
        if body.stream:
            return StreamingResponse(verdict_events(sample, body, slot), media_type="text/event-stream")
        return JSONResponse(
            as_json(await admission.run(slot, lambda: judge.verdicts([sample], **compare_options(body))))[0]
        )

    async def verdict_events(sample: Sample, body: schemas.CompareBody, slot: RequestSlot) -> AsyncIterator[str]:
        """Events `reasoning` {"delta": …} while it is generated, then `verdict`, or `error`."""
        try:
            pieces = stream_text(
                admission, slot, lambda on_text: judge.verdicts([sample], **compare_options(body), on_text=on_text)
            )
            async for piece in pieces:
                if isinstance(piece, StreamEnd):
                    yield event(as_json(piece.result)[0], "verdict")
                else:
                    yield event({"delta": piece}, "reasoning")
        except Exception as error:
            yield failure(error)

    @app.post("/v1/compare/upload", response_model=schemas.VerdictAnswer)
    async def compare_upload(
        slot: Slot,
        caption: Annotated[str, Form(min_length=1, max_length=TEXT)],
        image_a: Annotated[UploadFile, File()],
        image_b: Annotated[UploadFile, File()],
        votes: Annotated[int, Form(ge=1, le=VOTES)] = 1,
        both_orders: Annotated[bool, Form()] = True,
    ) -> Any:
        """The same as /v1/compare, with the images as files of a form."""
        data = [await image_a.read(), await image_b.read()]

        def work() -> list[Verdict]:
            sample = Sample("compare", "image_preference", caption, images=tuple(decoder.images(data, slot)))
            return judge.verdicts([sample], votes, both_orders)

        return JSONResponse(as_json(await admission.run(slot, work))[0])

    @app.post("/v1/verdicts", response_model=schemas.VerdictsAnswer)
    async def verdicts(body: schemas.VerdictsBody, slot: Slot) -> Any:
        """Verdicts on comparisons of any kind, all of one task."""
        if sum(len(s.images) + sum(map(len, s.videos)) for s in body.samples) > IMAGES:
            raise ApiError(400, f"more than {IMAGES} images in one request, the limit")

        def work() -> list[Verdict]:
            return judge.verdicts(
                [decode_sample(sample, decoder, slot) for sample in body.samples], **compare_options(body)
            )

        return JSONResponse({"verdicts": as_json(await admission.run(slot, work))})

    # --- ranking and scoring ------------------------------------------------------------------------------------

    @app.post("/v1/rank", response_model=schemas.RankAnswer)
    async def rank(body: schemas.RankBody, slot: Slot) -> Any:
        """The images' indices, best first."""
        check_pairs(len(body.images), limits)

        def work() -> Any:
            images = decoder.images(body.images, slot)
            return judge.tournament(body.caption, images, body.method, **compare_options(body))

        return JSONResponse(dataclasses.asdict(await admission.run(slot, work)))

    @app.post("/v1/score", response_model=schemas.ScoreAnswer)
    async def score(body: schemas.ScoreBody, slot: Slot) -> Any:
        """A number for each image with its caption."""
        if body.mode in ("auto", "win_rate"):
            check_pairs(len(body.images), limits)
        result = await admission.run(
            slot, lambda: judge.score(decoder.images(body.images, slot), body.captions, body.mode, votes=body.votes)
        )
        return JSONResponse({**result._asdict(), "scores": [None if math.isnan(s) else s for s in result.scores]})

    # --- OpenAI -------------------------------------------------------------------------------------------------

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: schemas.ChatBody, slot: Slot) -> Response:
        """OpenAI's chat completions; with ``stream`` as server-sent events."""
        chat.check(body, name)
        if body.stream and body.n > 1:
            raise ApiError(400, "one choice can be streamed, set n to 1", param="n")
        chat_request = await admission.run(slot, lambda: chat.chat_request(body, judge, name, decoder, slot))
        if not body.stream:
            completions = await admission.run(
                slot, lambda: judge.engine.generate([chat_request.request], chat_request.sampling)[0]
            )
            return JSONResponse(chat.completion(body, name, completions))

        def work(on_text: Any) -> Any:
            request = dataclasses.replace(chat_request.request, on_text=lambda index, text: on_text(text))
            return judge.engine.generate([request], chat_request.sampling)[0][0]

        return StreamingResponse(chat.streamed(admission, slot, name, work), media_type="text/event-stream")

    @app.post("/get_reward_mllm")
    async def get_reward_mllm(body: openrlhf.RewardBody, slot: Slot) -> dict[str, Any]:
        """OpenRLHF's remote reward: each answer's win rate against the other answers to its prompt."""
        return await admission.run(slot, lambda: openrlhf.rewards(judge, body, decoder, slot))

    if flow_grpo_pickle:

        @app.post("/", include_in_schema=False)
        async def flow_grpo_rewards(request: Request, slot: Slot) -> Response:
            """Flow-GRPO's remote reward."""
            body = await request.body()
            scores = await admission.run(slot, lambda: flow_grpo.rewards(judge, body, decoder, slot))
            return Response(scores, media_type="application/octet-stream")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return chat.models(name)

    # --- status -------------------------------------------------------------------------------------------------

    @app.get("/v1/judge", response_model=schemas.JudgeAnswer)
    async def judge_info() -> dict[str, Any]:
        """The judge's task and prompt template, and its limits."""
        config = judge.config
        return {
            "model": name, "task": config.task, "is_base_model": judge.is_base_model,
            "template": {"name": config.template.name, "text": config.template.text, "hash": config.template.hash},
            "min_pixels": config.min_pixels, "max_pixels": config.max_pixels, "temperature": config.temperature,
            "max_tokens": judge.max_tokens,
        }  # fmt: skip

    @app.get("/health")
    async def health() -> JSONResponse:
        """200 while requests are accepted; 503 when closing, or when the model's process has ended."""
        status = str(judge.engine.failure or ("closing" if admission.closing else "ok"))
        state = {"status": status, "in_flight": admission.in_flight, "max_in_flight": limits.in_flight}
        return JSONResponse(state, 200 if status == "ok" else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(
            metrics.text(admission.in_flight, admission.held_bytes),
            media_type="text/plain; version=0.0.4; charset=utf-8",
        )

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(api_docs.page(app.openapi()), headers={"Content-Security-Policy": CSP})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": CSP})

    return app


def compare_options(body: schemas.CompareOptions) -> dict[str, Any]:
    """A body's options as keyword arguments of `Judge.verdicts`."""
    return {"votes": body.votes, "both_orders": body.both_orders, "p_first": body.p_first, "seed": body.seed}


def decode_sample(body: schemas.SampleBody, decoder: ImageDecoder, slot: RequestSlot) -> Sample:
    """A body as a sample, its images decoded."""
    images = tuple(decoder.images(body.images, slot))
    videos = tuple(tuple(decoder.images(frames, slot)) for frames in body.videos)
    return Sample(body.id, body.task, body.prompt, images, videos, tuple(body.responses))


def check_pairs(n: int, limits: Limits) -> None:
    """Raises:
    ApiError: more comparisons than a request may cause.
    """
    pairs = n * (n - 1) // 2
    if pairs > limits.pairs:
        raise ApiError(400, f"{n} images are {pairs} comparisons, the limit is {limits.pairs}", param="images")
