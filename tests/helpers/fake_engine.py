"""An engine that sees and does not learn: it names the colour of every image in its prompt and answers by them.

Real requests, real images, no weights: every answer shows which images it was drawn from, so a mix-up cannot hide.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageStat

from reasoner_rm.data.images import open_image
from reasoner_rm.judge import Judge
from reasoner_rm.models.judge_checkpoint import JudgeConfig
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.schema import Completion, MediaRef
from reasoner_rm.tasks.render import load_template

COLOURS = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (245, 215, 45),
    "green": (45, 160, 70),
    "blue": (40, 90, 210),
    "purple": (130, 60, 180),
}


def picture(colour: str, rng: random.Random | None = None, side: int = 32) -> Image.Image:
    """A picture filled with a colour, in a shade of its own, with a mark that makes its bytes unlike any other's."""
    rng = rng or random.Random(colour)
    shade = tuple(min(255, max(0, c + rng.randint(-12, 12))) for c in COLOURS[colour])
    image = Image.new("RGB", (side, side), shade)
    ImageDraw.Draw(image).point([(rng.randrange(side), rng.randrange(side)) for _ in range(6)], fill="black")
    return image


def colour_of(ref: MediaRef) -> str:
    seen = ImageStat.Stat(open_image(ref)).mean
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], seen, strict=True)))


def pair(rng: random.Random) -> tuple[str, str, str]:
    """What is asked for, and the colours of both pictures, one of which is it."""
    first, second = rng.sample(sorted(COLOURS), 2)
    return rng.choice((first, second)), first, second


class ColorEngine(RolloutEngine):
    """Prefers the last image over the first when its colour stands earlier in the caption. Pointwise: 5 for the
    colour that is asked for, else 1. ``delay`` is how long a run takes, in seconds; two at once are an error."""

    def __init__(self, delay: float = 0.0):
        self.delay = delay
        self.runs: list[int] = []
        self.asked: list[GenerationRequest] = []
        self._inside = threading.Lock()

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        assert self._inside.acquire(blocking=False), "two threads in the engine"
        try:
            self.runs.append(len(requests))
            self.asked += requests
            time.sleep(self.delay)
            return [tuple(self._answer(request, i) for i in range(len(request.seeds))) for request in requests]
        finally:
            self._inside.release()

    def _answer(self, request: GenerationRequest, index: int) -> Completion:
        parts = zip(request.prompt.content, request.prompt.is_image, strict=True)
        text = " ".join(str(part) for part, is_image in parts if not is_image)
        asked = text.split("Caption:")[-1].partition("\n")[0]
        seen = [colour_of(image) for image in request.prompt.images]
        thought = "The caption asks for" + asked + ". " + " ".join(f"Image {i} is {c}." for i, c in enumerate(seen, 1))
        if "a number from" in text:
            answer = "5" if seen[0] in asked else "1"
        else:
            noun = next(n for n in ("Video", "Answer", "Image") if f"{n} 1 is better" in text)
            second = len(seen) > 1 and noun != "Answer" and _place(seen[-1], asked) < _place(seen[0], asked)
            answer = f"{noun} {1 + second} is better"
        full = f"<think>{thought}</think>\n<answer>{answer}</answer>"
        if request.on_text:
            for end in range(0, len(full), 7):
                request.on_text(index, full[:end])
        return Completion(full, (1, 2), (0.0, 0.0), "stop")


def _place(colour: str, text: str) -> int:
    found = re.search(colour, text)
    return found.start() if found else len(text)


def seeing_judge(delay: float = 0.0, task: str = "image_preference", **settings: object) -> Judge:
    """A judge with eyes."""
    return Judge(ColorEngine(delay), JudgeConfig(task, load_template(task, "brief")), **settings)  # type: ignore[arg-type]
