"""What a chat's messages are to a judge: a caption, or a complete prompt; and a judge's server as an endpoint."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_engine import ColorEngine, pair, picture, seeing_judge
from judge_server import serving, uri, user
from shell import fails, shell

from reasoner_rm import Judge, Sample
from reasoner_rm.client.http_errors import message_of
from reasoner_rm.data.images import open_image
from reasoner_rm.judge.judge import Judge as AnyJudge
from reasoner_rm.server.app import create_app
from reasoner_rm.tasks.render import Prompt, render

pytestmark = pytest.mark.server

RED, BLUE = (uri(picture(colour)) for colour in ("red", "blue"))
SHOWN = {RED: "<red>", BLUE: "<blue>"}


@pytest.fixture(scope="module")
def judge() -> AnyJudge:
    return seeing_judge()


@pytest.fixture(scope="module")
def url(judge: AnyJudge) -> Iterator[str]:
    with serving(create_app(judge, name="eyes")) as address:
        yield address


def asked(judge: AnyJudge) -> list[Prompt]:
    engine = judge.engine.engine
    assert isinstance(engine, ColorEngine)
    return [request.prompt for request in engine.asked]


def shown(prompt: Prompt) -> str:
    """The prompt as a text, its images by their colour."""
    parts = zip(prompt.content, prompt.is_image, strict=True)
    return "".join(SHOWN[uri(open_image(part))] if is_image else str(part) for part, is_image in parts)


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def image(address: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address, "detail": "high"}}


def message(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


CAPTIONS = [
    [user("a red thing", RED, BLUE)],
    [message(image(RED), image(BLUE), text("a red thing"))],
    [message(image(RED), text(" a red thing\n"), image(BLUE))],
    [message(text("a red thing"), {"type": "image_url", "image_url": RED}, image(BLUE))],
]
PROMPTS = {
    "Which one? Image 1 is better<red>": [message(text("Which one? Image 1 is better"), image(RED))],
    "hello, Image 1 is better": [{"role": "user", "content": "hello, Image 1 is better"}],
    "A: <red>B: <blue>Image 1 is better?": [
        message(text("A: "), image(RED), text("B: "), image(BLUE), text("Image 1 is better?"))
    ],
    "Be fair.\n\nred, Image 1 is better<red><blue>": [
        {"role": "system", "content": "Be fair."}, user("red, Image 1 is better", RED, BLUE)
    ],
    "Be fair.\n\n<blue>\n\nImage 1 is better": [
        message(image(BLUE)), message(text("Be fair."), role="developer"), message(text("Image 1 is better"))
    ],
    "<red><blue><red>Image 1 is better": [message(image(RED), image(BLUE), image(RED), text("Image 1 is better"))],
}  # fmt: skip


def ask(url: str, messages: list[Any], **settings: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json={"messages": messages, **settings}, timeout=60)


@pytest.mark.parametrize("messages", CAPTIONS)
def test_one_text_with_the_images_of_the_task_is_a_caption(url: str, judge: AnyJudge, messages: list[Any]) -> None:
    assert ask(url, messages, model="eyes").status_code == 200
    sample = Sample("s", "image_preference", "a red thing", images=(picture("red"), picture("blue")))
    assert shown(asked(judge)[-1]) == shown(render(sample, judge.config.template))


@pytest.mark.parametrize("model", ["eyes", "eyes:raw"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_all_else_is_a_complete_prompt(url: str, judge: AnyJudge, prompt: str, model: str) -> None:
    answer = ask(url, PROMPTS[prompt], model=model)
    assert answer.status_code == 200, answer.text
    assert shown(asked(judge)[-1]) == prompt


def test_the_raw_model_takes_a_caption_as_it_is(url: str, judge: AnyJudge) -> None:
    assert ask(url, [user("red, Image 1 is better", RED, BLUE)], model="eyes:raw").status_code == 200
    assert shown(asked(judge)[-1]) == "red, Image 1 is better<red><blue>"


def test_a_judge_of_other_tasks_takes_complete_prompts(url: str) -> None:
    judge = seeing_judge(task="response_preference")
    with serving(create_app(judge)) as address:
        assert ask(address, [user("What is it? Answer 1 is better", RED)]).status_code == 200
    assert shown(asked(judge)[-1]) == "What is it? Answer 1 is better<red>"


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "system", "content": "be kind"}], "one user turn, the messages are of system"),
        ([user("red", RED), {"role": "assistant", "content": "no"}, user("red", RED)], "of user, assistant, user"),
        ([user(" ", RED, BLUE)], "the messages have no text"),
        ([message(image(RED))], "the messages have no text"),
        ([message()], "the messages have no text"),
        ([], "messages: "),
        ([{"role": "user", "content": None}], "messages.0.content: Input should be a valid list"),
        ([message({"type": "text"})], "a part of type text without its text"),
        ([message({"type": "image_url"})], "a part of type image_url without its image_url"),
        ([message({"type": "text", "text": "a", "image_url": {"url": RED}})], "with more than its text"),
        ([message({"type": "input_audio", "input_audio": {}})], "0.type: Input should be 'text' or 'image_url'"),
        ([message({"type": "text", "text": 7})], "messages.0.content.0.text: Input should be a valid string"),
        ([message(text("a"), {"type": "image_url", "image_url": {}})], "1.image_url.url: Field required"),
        ([message(text("red"), image("data:image/png;base64,AAAA"))], "image 0: "),
    ],
)
def test_what_is_wrong_with_a_message_is_said(url: str, messages: list[Any], says: str) -> None:
    for model in ("eyes", "eyes:raw"):
        answer = ask(url, messages, model=model)
        assert answer.status_code in (400, 422) and says in answer.json()["error"]["message"], answer.text


def test_settings_that_change_nothing_are_taken(url: str) -> None:
    neutral = {
        "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "length_penalty": 1.0, "stop": None, "tools": [],
        "response_format": {"type": "text"}, "frequency_penalty": 0, "user": "me", "stream_options": None,
    }  # fmt: skip
    assert ask(url, CAPTIONS[0], **neutral).status_code == 200
    for name, value in {"top_k": 5, "repetition_penalty": 1.1, "response_format": {"type": "json_object"}}.items():
        answer = ask(url, CAPTIONS[0], **{name: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


# --- as an endpoint -------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> list[Sample]:
    """Comparisons in a file, each with its answer."""
    rng, rows, samples = random.Random(3), [], []
    for i in range(12):
        wanted, first, second = pair(rng)
        files = []
        for k, colour in enumerate((first, second)):
            picture(colour, rng).save(tmp_path / f"{i}-{k}.png")
            files.append(f"{i}-{k}.png")
        row = {"id": str(i), "task": "image_preference", "prompt": f"a {wanted} thing", "images": files}
        rows.append({**row, "gold": {"p_first": float(wanted == first)}})
        samples.append(Sample(str(i), "image_preference", f"a {wanted} thing", tuple(tmp_path / f for f in files)))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return samples


@pytest.mark.parametrize("model", ["eyes", "eyes:raw"])
@pytest.mark.parametrize("more", [(), ("--engine", "http", "--prompt", "own")])
def test_a_judges_server_is_evaluated_with_its_own_prompt(
    model: str, more: tuple[str, ...], pairs: list[Sample], tmp_path: Path
) -> None:
    judge = seeing_judge()
    with serving(create_app(judge, name="eyes")) as address:
        done = shell(
            "eval", "samples", "--data", tmp_path / "pairs.jsonl", "--model", model, "--url", f"{address}/v1",
            "--out", tmp_path / "out", "--json", *more,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["metrics"]["accuracy"]["value"] == 1.0, scores
    expected = {
        str(render(s, judge.config.template).content[-1])
        for sample in pairs for s in (sample, sample.swapped())
    }  # fmt: skip
    assert {str(prompt.content[-1]) for prompt in asked(judge)} == expected


def test_a_server_is_asked_by_every_verb_that_takes_one(pairs: list[Sample], tmp_path: Path) -> None:
    judge = seeing_judge()
    with serving(create_app(judge, name="eyes")) as address:
        server = ("--engine", "http", "--url", f"{address}/v1")
        images = [str(picture_of(pairs[0], k)) for k in (0, 1)]
        done = shell("judge", "--model", "eyes", *server, "--caption", pairs[0].prompt, *images, "--json")
        assert done.returncode == 0, done.stderr
        verdict = json.loads(done.stdout)
        near = Judge.from_pretrained("eyes", "http", url=f"{address}/v1/", max_tokens=77)
        assert (near.config.template, near.max_tokens, near.is_base_model) == (judge.config.template, 77, False)
        assert near.compare(pairs[0].prompt, *images).preferred == verdict["preferred"]
        assert Judge.connect(f"{address}/v1").max_tokens == judge.max_tokens
        says = fails("judge", "--model", "ears", *server, "--caption", "red", *images)
        assert "has no model 'ears'; it serves: eyes, eyes:raw" in says
        says = fails("eval", "samples", "--data", tmp_path / "pairs.jsonl", "--model", "eyes", *server[2:],
                     "--out", tmp_path / "out", "--temperature", "3")  # fmt: skip
        assert says.endswith("answers 422: temperature: Input should be less than or equal to 2")


def picture_of(sample: Sample, k: int) -> object:
    return sample.images[k]


def test_the_words_of_an_error() -> None:
    fastapi = json.dumps({"detail": [{"loc": ["body", "n"], "msg": "Input should be less", "type": "x"}]})
    assert message_of(fastapi) == ("n: Input should be less", "n")
