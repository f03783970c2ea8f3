"""What people hand to a judge by mistake or in haste, and what it may not make of it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import COLOURS, picture, seeing_judge

from reasoner_rm import Judge, Sample
from reasoner_rm.errors import InputError
from reasoner_rm.judge.adapters import as_dancegrpo, as_flow_grpo
from reasoner_rm.judge.async_judge import AsyncJudge
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.prompt_encoder import PromptEncoder
from reasoner_rm.serving.cache import CompletionCache

RED, BLUE = picture("red"), picture("blue")


@pytest.fixture(scope="module")
def real(tiny_folder: Path) -> Judge:
    return Judge.from_pretrained(tiny_folder, "transformers", max_tokens=8, template="brief", deterministic=True)


def test_one_text_is_not_a_list_of_captions() -> None:
    judge: Any = seeing_judge(is_base_model=True)
    for ask in (
        lambda: judge.score([RED, BLUE, RED], "red"),
        lambda: judge.compare_batch("ab", [RED, BLUE], [BLUE, RED]),
        lambda: judge.annotate([RED, BLUE, RED], "red"),
        lambda: as_flow_grpo(judge)([RED, BLUE, RED], "red"),
        lambda: as_dancegrpo(judge)([RED, BLUE, RED], "red"),
    ):
        with pytest.raises(InputError, match="captions is a single text"):
            ask()
    with pytest.raises(InputError, match="2 captions for 3 images"):
        judge.score([RED, BLUE, RED], ["red", "blue"])


@pytest.mark.parametrize("caption", [None, 7, float("nan"), ["a"]])
def test_what_is_no_text_is_no_caption(caption: Any) -> None:
    """A template would write `None` and the judge answer to it."""
    judge: Any = seeing_judge(is_base_model=True)
    for ask in (
        lambda: judge.compare(caption, RED, BLUE), lambda: judge.rank(caption, [RED, BLUE]),
        lambda: judge.score([RED], [caption]), lambda: judge.find_errors(caption, RED),
    ):  # fmt: skip
        with pytest.raises(InputError, match="not text"):
            ask()


def test_settings_that_mean_nothing() -> None:
    judge: Any = seeing_judge()
    for how, says in (
        ({"votes": 0}, "votes is 0"), ({"votes": 1.5}, "votes is 1.5"), ({"temperature": -1}, "temperature is -1"),
        ({"votes": 2, "temperature": math.nan}, "temperature is nan"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            judge.compare("red", RED, BLUE, **how)
    with pytest.raises(InputError, match="max_tokens is 0"):
        seeing_judge(max_tokens=0)


def test_a_caption_of_twenty_thousand_words(real: Judge) -> None:
    """Longer than the model was made for: said at once, and not cut."""
    began = time.process_time()
    with pytest.raises(InputError, match=r"a prompt of 2\d{4} tokens, .* takes 8192; shorten its text"):
        real.compare("red " * 20_000, RED, BLUE)
    assert time.process_time() - began < 10
    assert seeing_judge().compare("blue " + "red " * 20_000, RED, BLUE).preferred == 1, "where no model limits it"


@pytest.mark.parametrize(
    "caption", ["", " ", "👩‍👩‍👧 \u202eabc\u202c e\u0301 日本 \U0010ffff", "<|im_end|></think>\x1b[0m", "{{ 7 }}"]
)
def test_odd_captions(real: Judge, caption: str) -> None:
    assert len(real.compare(caption, RED, BLUE).votes) == 2


@pytest.mark.parametrize("caption", ["\ud800", "a\0b"])
def test_captions_that_no_prompt_can_carry(real: Judge, caption: str) -> None:
    with pytest.raises(InputError, match="holds"):
        real.compare(caption, RED, BLUE)


def test_a_real_completion_that_cannot_be_read(tiny_folder: Path) -> None:
    """A model that has learnt nothing: never a silent 0."""
    judge = Judge.from_pretrained(tiny_folder, "transformers", max_tokens=6, template="brief")
    images, captions = [RED, BLUE], ["red", "red"]
    for mode in ("pointwise", "win_rate"):
        found = judge.score(images, captions, mode)  # type: ignore[arg-type]
        assert found.parsed_mask == [False, False] and all(map(math.isnan, found.scores))
        zero = judge.score(images, captions, mode, on_unparsed="zero")  # type: ignore[arg-type]
        assert zero.scores == zero.normalized() == [0.0, 0.0] and zero.parsed_mask == [False, False]
        with pytest.raises(InputError, match="no score could be read for 2 of 2 images"):
            judge.score(images, captions, mode, on_unparsed="raise")  # type: ignore[arg-type]
    for ask in (judge.rank, judge.best_of):
        with pytest.raises(InputError, match="none of 1 comparisons could be read"):
            ask("red", images)


@pytest.mark.parametrize("n", [1, 2, 65])
def test_rankings_of_any_size(n: int) -> None:
    rng = random.Random(n)
    colours = [rng.choice(sorted(COLOURS)) for _ in range(n)]
    found = seeing_judge().tournament(", then ".join(COLOURS), [picture(c, rng) for c in colours])
    places = [list(COLOURS).index(colours[i]) for i in found.order]
    assert places == sorted(places) and sorted(found.order) == list(range(n))
    assert found.comparisons <= max(1, n * math.log2(n)) and found.method == ("merge" if n > 8 else "round_robin")


def test_the_same_verdict_in_any_company(real: Judge) -> None:
    """Deterministic: alone, in batches, in another order, with votes and with the tokens' own probabilities."""
    captions = [f"thing {i}" for i in range(3)]
    for how in ({}, {"votes": 3}, {"p_first": "tokens"}):
        alone = [real.compare(caption, RED, BLUE, **how) for caption in captions]
        for order in ((0, 1, 2), (2, 1, 2)):
            asked = [captions[i] for i in order]
            assert real.compare_batch(asked, [RED] * 3, [BLUE] * 3, **how) == [alone[i] for i in order]


def test_what_changes_under_the_same_name(tiny: Vlm, tmp_path: Path) -> None:
    """An array that is painted over, a file that is written anew: the answer is about what is there now."""
    judge = seeing_judge(cache=CompletionCache())
    array = np.asarray(RED).copy()
    assert judge.compare("red", array, BLUE).preferred == 0
    array[:] = np.asarray(picture("green"))
    assert "Image 1 is green" in judge.compare("red", array, BLUE).reasoning
    files = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    samples = [Sample("s", "image_preference", "red", files)]
    encoder, seen = PromptEncoder(tiny), []
    for colour in ("red", "green"):
        picture(colour).save(files[0])
        BLUE.save(files[1])
        assert f"Image 1 is {colour}" in judge.verdicts(samples)[0].reasoning
        assert judge.verdicts(samples) == judge.verdicts(samples)
        seen.append(encoder.process(files[0]).pixel_values)
        assert encoder.process(files[0]).pixel_values is seen[-1], "kept while it stays as it is"
    assert not seen[0].equal(seen[1])


def test_a_call_that_is_cancelled_leaves_the_others_alone() -> None:
    judge = AsyncJudge(seeing_judge(delay=0.1), calls=2)

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(judge.compare("red", RED, BLUE)) for _ in range(6)]
        await asyncio.sleep(0.03)
        for task in (asked[0], asked[5]):  # one under way, one that waits
            task.cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(judge.compare("blue", RED, BLUE), 0.02)
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [*found, await judge.compare("blue", RED, BLUE)]

    found = asyncio.run(ask())
    assert [isinstance(f, asyncio.CancelledError) for f in found] == [True, False, False, False, False, True, False]
    assert [f.preferred for f in found[1:5]] == [0] * 4 and found[6].preferred == 1
    engine: Any = judge.judge.engine.engine
    assert sum(engine.runs) == 2 * 6, "what was cancelled in the queue was never asked"
    judge.close()
    with pytest.raises(AttributeError, match="not a method of Judge"):
        judge.config  # noqa: B018
