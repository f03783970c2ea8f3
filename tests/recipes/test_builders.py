"""The builders: mistakes by rule and by a model, reasoning from a teacher; the models are a real server on loopback."""

from __future__ import annotations

import json
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from launch_helpers import Ranks, finish

from data_recipes import get_recipe
from data_recipes.vicrit.model import accepted, inject_by_model
from data_recipes.vicrit.rules import inject, spots
from data_recipes.vicrit.verify import verify
from data_recipes.vicrit.word_groups import ALTERNATIVES, TYPES, same
from reasoner_rm.cli import main
from reasoner_rm.client.openai_client import OpenAIClient
from reasoner_rm.client.teacher import EndpointTeacher
from reasoner_rm.config import EndpointSection, SftSection
from reasoner_rm.data.build import Settings, build
from reasoner_rm.data.io import load_samples, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.models.box_converter import BoxConverter
from reasoner_rm.models.judge_checkpoint import JudgeConfig, save_judge
from reasoner_rm.models.loading import load_vlm
from reasoner_rm.rollout import GenerationRequest, RolloutEngine, SamplingParams
from reasoner_rm.rollout.teacher import EngineTeacher
from reasoner_rm.sampling.cold_start import check_answer, distil
from reasoner_rm.schema import Completion, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.render import load_template
from reasoner_rm.training.sft import SFTTrainer

sys.path.insert(0, str(Path(__file__).parent))
import recipe_rows

# --- mistakes by rule ---


@pytest.mark.parametrize(
    ("caption", "kind", "expected"),
    [
        ("A red kite.", "color", r"A (?!red)\w+ kite\."),
        ("She holds an apple.", "object", r"She holds a (banana|pear|lemon|melon|strawberry)\."),
        ("There is a car.", "object", r"There is (an airplane|a (bus|bicycle|motorcycle|train|tractor))\."),
        ("An orange cat.", "object", r"An orange (?!cat)\w+\."),
        ("Three dogs run.", "count", r"(Two|Four|Five|Six|Seven|Eight|Nine|Ten) dogs run\."),
        ("Dogs run.", "object", r"(Cats|Horses|Cows|Sheep|Elephants|Rabbits|Goats) run\."),
        ("It stands on the left of it.", "spatial relation", r"It stands on the right of it\."),
        ("A wooden door.", "material", r"A (?!wooden)\w+ door\."),
        ("The jar is empty.", "condition", r"The jar is full\."),
        ("A square plate", "shape", r"An? (?!square)\w+ plate"),
        ('A sign says "OPEN".', "scene text", r'A sign says "(?!OPEN)[A-Z]{4}"\.'),
    ],
)
def test_a_change_keeps_the_grammar(caption: str, kind: str, expected: str) -> None:
    others = {name: 99 for name in TYPES if name != kind}
    for seed in range(30):
        change = inject(caption, random.Random(seed), others)
        assert change is not None and change.type == kind
        assert re.fullmatch(expected, change.caption), change
        start, end = change.span
        assert change.caption[start:end] == change.changed
        verify(caption, change.caption, change.original, change.changed, change.type)


@pytest.mark.parametrize("caption", ["Fog.", "", "A two-storey house.", "A red car beside a red barn and a red bus."])
def test_what_cannot_be_changed_once_is_left(caption: str) -> None:
    changed = inject(caption, random.Random(0), {"object": 99})
    assert changed is None or changed.type == "object"


def test_a_change_never_names_what_is_there_already() -> None:
    caption = "A red ball between a blue ball and a green cube."
    for seed in range(50):
        change = inject(caption, random.Random(seed))
        assert change is not None and change.changed not in ("red", "blue", "green")


def test_no_alternative_is_a_synonym() -> None:
    for rows in ALTERNATIVES.values():
        for row in rows:
            assert not [(a, b) for a in row for b in row if a != b and same(a, b)], row


def test_every_type_can_be_made_and_all_are_balanced(tmp_path: Path) -> None:
    text = (
        'A red car stands on the left of two wooden chairs with a round clock. The door is open. A sign says "HELLO".'
    )
    assert {spot.type for spot in spots(text)} == set(TYPES)
    recipe_rows.save(tmp_path, "1.jpg")
    recipe_rows.lines(tmp_path / "train.jsonl", [{"image": "1.jpg", "caption": text} for _ in range(160)])
    build(get_recipe("vicrit"), tmp_path, tmp_path / "out", Settings(part=50))
    counts = Counter(s.gold["type"] for s in load_samples(tmp_path / "out" / "train.jsonl"))
    assert set(counts) == set(TYPES) and max(counts.values()) - min(counts.values()) <= 4


@pytest.mark.parametrize(
    ("changed_caption", "original", "changed", "message"),
    [
        ("a red car and a dog", "red", "red", "no-op"),
        ("a red automobile and a dog", "car", "automobile", "says the same"),
        ("a crimson car and a dog", "a red car", "a crimson car", "says the same"),
        ("a blue car and a cat", "red", "blue", "more than the one phrase"),
        ("a blue car and a dog", "green", "blue", "does not occur"),
        ("x y z a b c d e f g", "a red car and a dog", "x y z a b c d e f g", "more than 8 words"),
    ],
)
def test_what_is_not_one_clean_mistake_is_refused(
    changed_caption: str, original: str, changed: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        verify("a red car and a dog", changed_caption, original, changed, "color")
    verify("a red car and a dog", "a blue car and a dog", "red", "blue", "color")


# --- a server that speaks as OpenAI's does ---

Answer = Callable[[dict[str, Any]], Any]


class Server:
    """Answers each request by a function of its body: a text, or (status, body)."""

    def __init__(self, answer: Answer):
        self.bodies: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                said = answer(body)
                status, text = said if isinstance(said, tuple) else (200, said)
                usage = {"prompt_tokens": 1000, "completion_tokens": 100}
                data = (
                    text if status != 200 else json.dumps({"choices": [{"message": {"content": text}}], "usage": usage})
                )
                self.send_response(status)
                self.end_headers()
                self.wfile.write(data.encode())

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    monkeypatch.setattr("reasoner_rm.client.openai_client.FIRST_WAIT", 0.01)
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def teacher(url: str, model: str = "m", **section: Any) -> EndpointTeacher:
    return EndpointTeacher(OpenAIClient(EndpointSection(urls=(url,), model=model, **section)))


def question(body: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in body["messages"][0]["content"])


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(serve: Any) -> None:
    answers = iter([(429, "slow down"), (503, "down"), "fine"])
    server = serve(lambda body: next(answers))
    asking = teacher(server.url, input_price=2, output_price=10)
    assert asking.ask(["hello", b"\x89PNG.."]) == "fine" and len(server.bodies) == 3
    assert asking.endpoint.cost.dollars == pytest.approx((1000 * 2 + 100 * 10) / 1e6)
    content = server.bodies[0]["messages"][0]["content"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
    refusing = serve(lambda body: (401, "no key"))
    with pytest.raises(InputError, match=r"answers 401: no key; set OPENAI_API_KEY to a key"):
        teacher(refusing.url).ask(["?"])
    assert len(refusing.bodies) == 1
    broken = serve(lambda body: (200, None) if False else (500, ""))
    with pytest.raises(InputError, match="it answers 500; check its URL, that it runs"):
        teacher(broken.url).ask(["?"])
    with pytest.raises(InputError, match=r"ConnectError.*; check its URL"):
        teacher("http://127.0.0.1:9/v1").ask(["?"])


def pairs(folder: Path, n: int) -> Path:
    recipe_rows.save(folder, "a.png", "b.jpg")
    images = (str(folder / "a.png"), str(folder / "b.jpg"))
    rows = [
        Sample(f"s{i}", "image_preference", f"prompt {i}", images, gold={"p_first": float(i % 2)}) for i in range(n)
    ]
    write_samples(folder / "set.jsonl", rows)
    return folder / "set.jsonl"


def verdict(k: int) -> str:
    return f"<think>Image {k} fits.</think>\n<answer>Image {k} is better</answer>"


def test_a_teacher_is_kept_where_it_is_right(serve: Any, tmp_path: Path) -> None:
    """This one always says the first, and once says nothing."""
    server = serve(lambda body: "hm" if "prompt 3" in question(body) else verdict(1))
    file = pairs(tmp_path, 6)
    made = list(distil(file, tmp_path / "j.jsonl", teacher(server.url)))
    kept = [s for s in made if isinstance(s, Sample)]
    assert [s.id for s in kept] == ["s1", "s5"] and all(s.target == verdict(1) for s in kept)
    assert Counter(r for r in made if isinstance(r, str)) == {
        "the teacher's verdict is not the label's": 3, "the teacher's answer is not well formed": 1
    }  # fmt: skip
    shown = server.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in shown].count("image_url") == 2
    for sample in kept:
        assert get_task(sample.task).parse(sample.target, sample).well_formed


def test_no_one_is_asked_twice_however_often_it_stops(serve: Any, tmp_path: Path) -> None:
    file, asked, fail = pairs(tmp_path, 30), Counter[str](), iter([5, 8, 9, 10**9])
    state = {"left": next(fail)}

    def answer(body: dict[str, Any]) -> Any:
        state["left"] -= 1
        if state["left"] < 0:
            return 400, "stop"
        asked[question(body)] += 1
        return verdict(1)

    server = serve(answer)
    for _ in range(3):
        with pytest.raises(InputError, match="answers 400"):
            list(distil(file, tmp_path / "j.jsonl", teacher(server.url, concurrency=1)))
        with next(tmp_path.glob("j.*.jsonl")).open("ab") as journal:
            journal.write(b'{"id": "s2')  # as a kill would leave it
        state["left"] = next(fail)
    made = list(distil(file, tmp_path / "j.jsonl", teacher(server.url, concurrency=4)))
    assert len(asked) == 30 and set(asked.values()) == {1} and sum(isinstance(s, Sample) for s in made) == 15
    fresh = list(distil(file, tmp_path / "fresh.jsonl", teacher(serve(lambda body: verdict(1)).url)))
    assert made == fresh
    asked.clear()
    list(distil(file, tmp_path / "j.jsonl", teacher(server.url, "other")))
    assert sum(asked.values()) == 30, "another teacher has a journal of its own"
    assert list(distil(file, tmp_path / "j.jsonl", teacher(server.url, concurrency=4))) == made
    assert sum(asked.values()) == 30, "and leaves that of the first as it is"


def test_a_budget_ends_the_run_and_more_goes_on(serve: Any, tmp_path: Path) -> None:
    file, server = pairs(tmp_path, 10), serve(lambda body: verdict(1))
    poor = teacher(server.url, budget=0.009, input_price=2, output_price=10, concurrency=1)  # three answers
    made = list(distil(file, tmp_path / "j.jsonl", poor))
    assert len(server.bodies) == 3 and sum(str(r).startswith("not requested: the budget") for r in made) == 7
    list(distil(file, tmp_path / "j.jsonl", teacher(server.url)))
    assert len(server.bodies) == 10


def test_a_second_try_may_do(serve: Any, tmp_path: Path) -> None:
    said = iter([verdict(1), verdict(2)])
    server = serve(lambda body: next(said))
    (made,) = list(distil(pairs(tmp_path, 1), tmp_path / "j.jsonl", teacher(server.url), tries=2))
    assert isinstance(made, Sample) and made.target == verdict(2)
    assert server.bodies[0]["seed"] != server.bodies[1]["seed"]


class Scripted(RolloutEngine):
    """A rollout engine whose answers are a function of the prompt's text and the seed."""

    def __init__(self, say: Callable[[str, int], str]):
        self.say, self.calls = say, list[int]()

    def generate(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[tuple[Completion, ...]]:
        self.calls.append(len(requests))
        return [tuple(Completion(self._said(r, seed), (1,), (0.0,), "stop") for seed in r.seeds) for r in requests]

    def _said(self, request: GenerationRequest, seed: int) -> str:
        return self.say("".join(p for p in request.prompt.content if isinstance(p, str)), seed)


def test_an_engine_teaches_in_batches_and_asks_again_only_where_it_failed(tmp_path: Path) -> None:
    """Even rows are said wrong by the first seeds, so a second try is due; then the engine breaks and goes on."""
    file, seeds = pairs(tmp_path, 10), set[int]()

    def say(text: str, seed: int) -> str:
        assert seed not in seeds
        seeds.add(seed)
        return verdict(1 if len(seeds) <= 4 else 2)

    engine = Scripted(say)
    made = list(distil(file, tmp_path / "j.jsonl", EngineTeacher(engine, "m", SamplingParams(), batch_size=4), tries=2))
    assert engine.calls == [4, 2, 4, 2, 2, 1] and len(seeds) == 15
    assert [s.id for s in made if isinstance(s, Sample)] == [f"s{i}" for i in (0, 1, 2, 3, 4, 6, 8)]

    def broken(text: str, seed: int) -> str:
        raise AssertionError("asked again")

    again = list(distil(file, tmp_path / "j.jsonl", EngineTeacher(Scripted(broken), "m", SamplingParams()), tries=2))
    assert again == made


def test_an_engine_says_boxes_in_its_own_space_and_they_are_kept_in_the_samples(tmp_path: Path) -> None:
    recipe_rows.save(tmp_path, "1.jpg")
    box = {"bbox_2d": [6, 6, 12, 12], "label": "cat"}
    sample = Sample("d", "detection", "cat", (str(tmp_path / "1.jpg"),), gold={"boxes": [box]})
    write_samples(tmp_path / "set.jsonl", [sample])
    said = '<think>A cat.</think>\n<answer>[{"bbox_2d": [250, 250, 500, 500], "label": "cat"}]</answer>'
    teacher = EngineTeacher(
        Scripted(lambda text, seed: said),
        "m",
        SamplingParams(),
        BoxConverter("normalized_1000", lambda s: ((24, 24), (28, 28))),
    )
    (made,) = distil(tmp_path / "set.jsonl", tmp_path / "j.jsonl", teacher)
    assert isinstance(made, Sample) and made.target is not None
    found = get_task("detection").parse(made.target, made)
    assert found.answer is not None and json.loads(found.answer)[0]["bbox_2d"] == [6, 6, 12, 12]


@pytest.fixture(scope="module")
def taught(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model that has learnt one verdict by heart, and the pairs it learnt it on."""
    folder = tmp_path_factory.mktemp("taught")
    file, template = pairs(folder, 4), load_template("image_preference", "brief")
    vlm = load_vlm(tiny_folder, device="cpu")
    rows = [replace(s, target=verdict(1)) for s in load_samples(file)]
    section = SftSection(learning_rate=3e-3, max_steps=45, batch_size=4, lr_scheduler_type="constant")
    SFTTrainer(vlm, template, rows, section, log=lambda *a, **k: None, seed=0, title="by heart").train()
    save_judge(vlm, JudgeConfig("image_preference", template), folder / "model")
    return folder / "model", file


def asking(model: Path, file: Path, engine: str, out: Path, *more: object) -> list[str]:
    """`data distil` with an engine in process, as it is typed."""
    how = ("--engine", engine, "--temperature", 0, "--max-tokens", 64)
    return [*map(str, ("data", "distil", file, "--model", model, *how, "--out", out, *more))]


def test_a_model_teaches_from_the_shell(taught: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(asking(*taught, "transformers", tmp_path / "o.jsonl"))
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "kept: 2 samples" in said.out and "dropped: 2, the teacher's verdict" in said.out and "cost" not in said.out
    assert all(s.target == verdict(1) for s in load_samples(tmp_path / "o.jsonl"))
    with pytest.raises(SystemExit):
        main(asking(*taught, "transformers", tmp_path / "o.jsonl", "--template", "default", "--overwrite"))
    assert "the teacher's answer is not well formed\": 4" in capsys.readouterr().err, (
        "it was trained with its own template, brief"
    )
    with pytest.raises(SystemExit):
        main(asking(*taught, "transformers", tmp_path / "o.jsonl", "--overwrite"))
    assert "kept: 2 samples" in capsys.readouterr().out, "the failed try is in no one's way"
    with pytest.raises(SystemExit):
        main(asking(*taught, "transformers", tmp_path / "p.jsonl", "--budget", 1))
    assert "--budget and --prices need --url" in capsys.readouterr().err


@pytest.mark.vllm
def test_vllm_in_process_teaches_the_same(taught: tuple[Path, Path], tmp_path: Path) -> None:
    """In a process of its own: an engine leaves marks on the one it starts in."""
    verb = asking(*taught, "vllm", tmp_path / "o.jsonl")
    said = finish(Ranks("reasoner_rm.cli:main", (verb,), tmp_path / "said.txt"))
    assert "kept: 2 samples" in said and "dropped: 2, the teacher's" in said
    assert [s.id for s in load_samples(tmp_path / "o.jsonl")] == ["s1", "s3"]


@pytest.mark.parametrize("end", ["<|im_end|>", "\ud800", "\x00", "<|image_pad|>"])
def test_what_no_student_can_be_taught_is_not_kept(end: str) -> None:
    sample = Sample("t", "image_preference", "x", ("a", "b"), gold={"p_first": 1.0})
    assert check_answer(sample, verdict(1)).turn == verdict(1)
    assert check_answer(sample, verdict(1).replace("fits", f"fits{end}")).turn is None


def test_a_tie_teaches_nothing() -> None:
    tie = Sample("t", "image_preference", "x", ("a", "b"), gold={"p_first": 0.5})
    assert check_answer(tie, verdict(1)).turn is None


# --- mistakes by a model ---


def test_a_model_is_held_to_one_clean_mistake(serve: Any, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        text = question(body)
        if "number 0" in text:
            return 'Sure: {"original": "a red car", "changed": "a blue car"}'
        if "number 1" in text:
            return '{"original": "a red car", "changed": "a crimson car"}'  # says nearly the same
        return "I would rather not." if "number 2" in text else '{"original": "gone", "changed": "here"}'

    recipe_rows.save(tmp_path, "1.jpg")
    rows = [{"image": "1.jpg", "caption": f"This is number {i}: a red car."} for i in range(4)]
    recipe_rows.lines(tmp_path / "c.jsonl", rows)
    server = serve(answer)
    made = list(inject_by_model(tmp_path / "c.jsonl", tmp_path / "j.jsonl", teacher(server.url), tries=2))
    (sample,) = [s for s in made if isinstance(s, Sample)]
    get_task("caption_critic").validate(sample)
    assert sample.prompt == "This is number 0: a blue car."
    assert len(server.bodies) == 1 + 2 * 3 and all(str(r).startswith("refused: ") for r in made[1:])
    kinds = [re.search(r"of this kind: (.+)\.", question(body))[1] for body in server.bodies]  # type: ignore[index]
    assert len(set(kinds)) == 4


def test_a_phrase_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="does not occur exactly once"):
        accepted("a cat and a cat", '{"original": "cat", "changed": "dog"}', "object")


def test_the_key_stays_in_the_environment(serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    server = serve(lambda body: (401, "no"))
    with pytest.raises(InputError) as caught:
        list(distil(pairs(tmp_path, 1), tmp_path / "j.jsonl", teacher(server.url)))
    assert "very-secret" not in str(caught.value) + next(tmp_path.glob("j.*.jsonl")).read_text()
