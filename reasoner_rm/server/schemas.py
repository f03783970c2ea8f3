"""The bodies of requests and responses. Images are data URIs, or http addresses where the server fetches them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reasoner_rm.server.limits import IMAGES, SAMPLES, TEXT, VOTES

Text = Annotated[str, Field(max_length=TEXT)]
Name = Annotated[str, Field(max_length=200)]
ImageText = Annotated[str, Field(description="data:image/png;base64,… (or JPEG, WEBP, GIF, BMP)", min_length=1)]
TokenCount = Annotated[int, Field(ge=1, lt=2**31)]
Votes = Annotated[int, Field(ge=1, le=VOTES, description="votes per order; 1 is greedy")]


class Body(BaseModel):
    """Strict: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class CompareOptions(Body):
    """Options of every comparison."""

    votes: Votes = 1
    both_orders: bool = True
    p_first: Literal["votes", "tokens"] = "votes"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class CompareBody(CompareOptions):
    """Which of two images fits a caption better. With ``stream`` the reasoning is sent while it is generated."""

    caption: Annotated[str, Field(min_length=1, max_length=TEXT)]
    image_a: ImageText
    image_b: ImageText
    stream: bool = False


class SampleBody(Body):
    """A comparison of any kind; ``images``, ``videos`` (lists of frames) and ``responses`` as the task has them."""

    id: Name = "compare"
    task: Name = "image_preference"
    prompt: Text
    images: Annotated[list[ImageText], Field(max_length=IMAGES)] = []
    videos: Annotated[list[Annotated[list[ImageText], Field(max_length=IMAGES)]], Field(max_length=2)] = []
    responses: Annotated[list[Text], Field(max_length=256)] = []


class VerdictsBody(CompareOptions):
    samples: Annotated[list[SampleBody], Field(min_length=1, max_length=SAMPLES)]


class ScoreBody(Body):
    """A score for each image with its caption."""

    images: Annotated[list[ImageText], Field(min_length=1, max_length=IMAGES)]
    captions: Annotated[list[Text], Field(min_length=1, max_length=IMAGES)]
    mode: Literal["auto", "pointwise", "expected", "win_rate"] = "auto"
    votes: Votes = 1


class RankBody(CompareOptions):
    """An order of the images, best first."""

    caption: Annotated[str, Field(min_length=1, max_length=TEXT)]
    images: Annotated[list[ImageText], Field(min_length=1, max_length=IMAGES)]
    method: Literal["auto", "round_robin", "swiss", "merge"] = "auto"


class VerdictAnswer(BaseModel):
    """``preferred`` is 0, 1 or null: a tie, or no readable vote (then ``parsed`` is false). ``reasoning`` is that of
    the first vote for it, ``reasonings`` are those of all votes."""

    preferred: int | None
    p_first: float | None
    reasoning: str
    consistent: bool | None
    votes: list[int | None]
    parsed: bool
    reasonings: list[str]


class VerdictsAnswer(BaseModel):
    verdicts: list[VerdictAnswer]


class ScoreAnswer(BaseModel):
    """``scores`` are null where no vote could be parsed; ``undecided``: a win rate of 0.5 without a decided
    comparison."""

    scores: list[float | None]
    parsed_mask: list[bool]
    scale: tuple[float, float]
    mode: str
    undecided: list[bool]


class RankAnswer(BaseModel):
    """``order``: indices, best first; ``ranks``: of each image, tied ones share a rank; ``undecided``: comparisons that
    decided nothing, ``unread`` of them unreadable; ``points`` are null unless all pairs were
    compared."""

    order: list[int]
    ranks: list[int]
    method: str
    comparisons: int
    points: list[float] | None
    undecided: int
    unread: int


class JudgeAnswer(BaseModel):
    """The judge's task, prompt template, pixel bounds, calibrated temperature and token limit."""

    model: str
    task: str
    is_base_model: bool
    template: dict[str, str]
    min_pixels: int | None
    max_pixels: int | None
    temperature: float
    max_tokens: int


class ImageUrl(BaseModel):
    url: ImageText
    detail: Name | None = None


class Part(BaseModel):
    """A text or an image of a message. The address of an image may stand for its object."""

    type: Literal["text", "image_url"]
    text: Text | None = None
    image_url: ImageUrl | None = None

    @field_validator("image_url", mode="before")
    @classmethod
    def from_address(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def check_content(self) -> Part:
        given = {"text": self.text is not None, "image_url": self.image_url is not None}
        if not given.pop(self.type):
            raise ValueError(f"a part of type {self.type} without its {self.type}")
        if any(given.values()):
            raise ValueError(f"a part of type {self.type} with more than its {self.type}")
        return self


class Message(BaseModel):
    """``content``: parts, or a text."""

    role: Literal["user", "system", "developer", "assistant", "tool"]
    content: Annotated[list[Part], Field(max_length=256)]

    @field_validator("content", mode="before")
    @classmethod
    def from_text(cls, value: Any) -> Any:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value


class ChatBody(BaseModel):
    """OpenAI's chat completions. Unsupported fields that would change the completion are rejected; others are
    ignored."""

    model_config = ConfigDict(extra="allow")

    model: Name | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=16)]
    n: Annotated[int, Field(ge=1, le=VOTES)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool = False
    logprobs: bool = False
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None

    @property
    def unknown(self) -> dict[str, Any]:
        return self.model_extra or {}
