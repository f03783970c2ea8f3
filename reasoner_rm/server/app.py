"""The server's routes: each reads a body, lets a judge answer in a thread, and writes the answer down."""

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
from reasoner_rm.server.admission import AdmissionController, AdmissionMiddleware, RequestSlot
from reasoner_rm.server.errors import ApiError
from reasoner_rm.server.image_decoder import ImageDecoder
from reasoner_rm.server.limits import IMAGES, TEXT, VOTES, Limits
from reasoner_rm.server.metrics import Metrics
from reasoner_rm.server.streaming import StreamEnd, event, failure, stream_text

PAGE = Path(__file__).with_name("page.html")
CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'"
)


def _ticket(request: Request) -> RequestSlot:
    found: RequestSlot = request.state.ticket
    return found


Inside = Annotated[RequestSlot, Depends(_ticket)]


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
    """The server of one judge. ``app.state`` has its ``gate``, which knows what is inside, and its ``engine``.

    Args:
        name: the model's name for OpenAI's clients.
        key: what clients must show; None: nothing.
        urls: whether images may be given by http address.
        hosts: the names that requests may call the server by; None: any.
        flow_grpo_pickle: whether `POST /` speaks Flow-GRPO's protocol; for loopback only.
    """
    limits, metrics = limits or Limits(), Metrics()
    gate, intake = AdmissionController(limits, metrics), ImageDecoder(limits, urls)
    judge.engine.observe(metrics.ran)
    judge.engine.keep_images(limits.image_cache_bytes)
    app = FastAPI(title="reasoner-rm judge", version="1", docs_url=None, redoc_url=None)
    app.state.gate, app.state.engine = gate, judge.engine
    app.add_middleware(AdmissionMiddleware, gate=gate, key=key, hosts=hosts)
    errors.install(app)

    def told(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
        for verdict in verdicts:
            metrics.judged(verdict.parsed)
        return [dataclasses.asdict(verdict) for verdict in verdicts]

    # --- comparing ----------------------------------------------------------------------------------------------

    @app.post("/v1/compare", response_model=schemas.VerdictAnswer)
    async def compare(body: schemas.CompareBody, ticket: Inside) -> Any:
        """Which of two images serves a caption better."""
        images = await gate.run(ticket, lambda: intake.images([body.image_a, body.image_b], ticket))
        sample = Sample("compare", "image_preference", body.caption, images=tuple(images))
        judge.template(sample.task)
        if body.stream:
            return StreamingResponse(compared(sample, body, ticket), media_type="text/event-stream")
        return JSONResponse(told(await gate.run(ticket, lambda: judge.verdicts([sample], **how(body))))[0])

    async def compared(sample: Sample, body: schemas.CompareBody, ticket: RequestSlot) -> AsyncIterator[str]:
        """Events `reasoning` {"delta": …} while it is written, then `verdict`, or `error`."""
        try:
            work = stream_text(gate, ticket, lambda on_text: judge.verdicts([sample], **how(body), on_text=on_text))
            async for piece in work:
                if isinstance(piece, StreamEnd):
                    yield event(told(piece.result)[0], "verdict")
                else:
                    yield event({"delta": piece}, "reasoning")
        except Exception as error:
            yield failure(error)

    @app.post("/v1/compare/upload", response_model=schemas.VerdictAnswer)
    async def compare_upload(
        ticket: Inside,
        caption: Annotated[str, Form(min_length=1, max_length=TEXT)],
        image_a: Annotated[UploadFile, File()],
        image_b: Annotated[UploadFile, File()],
        votes: Annotated[int, Form(ge=1, le=VOTES)] = 1,
        both_orders: Annotated[bool, Form()] = True,
    ) -> Any:
        """The same with the images as files of a form."""
        data = [await image_a.read(), await image_b.read()]

        def work() -> list[Verdict]:
            sample = Sample("compare", "image_preference", caption, images=tuple(intake.images(data, ticket)))
            return judge.verdicts([sample], votes, both_orders)

        return JSONResponse(told(await gate.run(ticket, work))[0])

    @app.post("/v1/verdicts", response_model=schemas.VerdictsAnswer)
    async def verdicts(body: schemas.VerdictsBody, ticket: Inside) -> Any:
        """Verdicts on comparisons of any kind, all of one task."""
        if sum(len(s.images) + sum(map(len, s.videos)) for s in body.samples) > IMAGES:
            raise ApiError(400, f"more than {IMAGES} images in one request")

        def work() -> list[Verdict]:
            return judge.verdicts([opened(sample, intake, ticket) for sample in body.samples], **how(body))

        return JSONResponse({"verdicts": told(await gate.run(ticket, work))})

    # --- ranking and scoring ------------------------------------------------------------------------------------

    @app.post("/v1/rank", response_model=schemas.RankAnswer)
    async def rank(body: schemas.RankBody, ticket: Inside) -> Any:
        """The images' indices, best first."""
        check_pairs(len(body.images), limits)

        def work() -> Any:
            images = intake.images(body.images, ticket)
            return judge.tournament(body.caption, images, body.method, **how(body))

        return JSONResponse(dataclasses.asdict(await gate.run(ticket, work)))

    @app.post("/v1/score", response_model=schemas.ScoreAnswer)
    async def score(body: schemas.ScoreBody, ticket: Inside) -> Any:
        """A number for each image with its caption."""
        if body.mode in ("auto", "win_rate"):
            check_pairs(len(body.images), limits)
        found = await gate.run(
            ticket, lambda: judge.score(intake.images(body.images, ticket), body.captions, body.mode, votes=body.votes)
        )
        return JSONResponse({**found._asdict(), "scores": [None if math.isnan(s) else s for s in found.scores]})

    # --- OpenAI -------------------------------------------------------------------------------------------------

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: schemas.ChatBody, ticket: Inside) -> Response:
        """OpenAI's chat completions; with ``stream`` as server-sent events."""
        chat.check(body, name)
        if body.stream and body.n > 1:
            raise ApiError(400, "one choice can be streamed", param="n")
        asked = await gate.run(ticket, lambda: chat.question(body, judge, name, intake, ticket))
        if not body.stream:
            drawn = await gate.run(ticket, lambda: judge.engine.generate([asked.request], asked.sampling)[0])
            return JSONResponse(chat.completion(body, name, drawn))

        def work(on_text: Any) -> Any:
            request = dataclasses.replace(asked.request, on_text=lambda index, text: on_text(text))
            return judge.engine.generate([request], asked.sampling)[0][0]

        return StreamingResponse(chat.streamed(gate, ticket, name, work), media_type="text/event-stream")

    @app.post("/get_reward_mllm")
    async def get_reward_mllm(body: openrlhf.RewardBody, ticket: Inside) -> dict[str, Any]:
        """OpenRLHF's remote reward: each answer's share of wins against the other answers to its prompt."""
        return await gate.run(ticket, lambda: openrlhf.rewards(judge, body, intake, ticket))

    if flow_grpo_pickle:

        @app.post("/", include_in_schema=False)
        async def flow_grpo_rewards(request: Request, ticket: Inside) -> Response:
            """Flow-GRPO's remote reward."""
            flow_grpo.check_sender(request.headers)
            body = await request.body()
            scored = await gate.run(ticket, lambda: flow_grpo.rewards(judge, body, intake, ticket))
            return Response(scored, media_type="application/octet-stream")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return chat.models(name)

    # --- about --------------------------------------------------------------------------------------------------

    @app.get("/v1/judge", response_model=schemas.JudgeAnswer)
    async def about() -> dict[str, Any]:
        """How the judge is asked: its task, and the very text of its prompt."""
        card = judge.config
        return {
            "model": name, "task": card.task, "is_base_model": judge.is_base_model,
            "template": {"name": card.template.name, "text": card.template.text, "hash": card.template.hash},
            "min_pixels": card.min_pixels, "max_pixels": card.max_pixels, "temperature": card.temperature,
            "max_tokens": judge.max_tokens,
        }  # fmt: skip

    @app.get("/health")
    async def health() -> JSONResponse:
        """200 while requests are taken; 503 when closing, or when the model's process has ended."""
        status = str(judge.engine.failure or ("closing" if gate.closing else "ok"))
        state = {"status": status, "in_flight": gate.in_flight, "max_in_flight": limits.in_flight}
        return JSONResponse(state, 200 if status == "ok" else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        return Response(
            metrics.text(gate.in_flight, gate.held_bytes), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(api_docs.page(app.openapi()), headers={"Content-Security-Policy": CSP})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": CSP})

    return app


def how(body: schemas.CompareOptions) -> dict[str, Any]:
    """A body's settings as `Judge.verdicts` takes them."""
    return {"votes": body.votes, "both_orders": body.both_orders, "p_first": body.p_first, "seed": body.seed}


def opened(body: schemas.SampleBody, intake: ImageDecoder, ticket: RequestSlot) -> Sample:
    """A sample with its images opened."""
    images = tuple(intake.images(body.images, ticket))
    videos = tuple(tuple(intake.images(frames, ticket)) for frames in body.videos)
    return Sample(body.id, body.task, body.prompt, images, videos, tuple(body.responses))


def check_pairs(n: int, limits: Limits) -> None:
    """Raises:
    Refusal: more comparisons than a request may cause.
    """
    if n * (n - 1) // 2 > limits.pairs:
        raise ApiError(
            400, f"{n} images are {n * (n - 1) // 2} comparisons, {limits.pairs} are allowed", param="images"
        )
