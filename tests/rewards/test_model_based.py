"""Rewards that ask someone: readings, time-outs, what is never shown; and sentences down to their tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from reasoner_rm.errors import InputError
from reasoner_rm.judge import Judge
from reasoner_rm.judge.judge_scorer import JudgeScorer
from reasoner_rm.models.loading import Vlm
from reasoner_rm.models.token_offsets import token_ends
from reasoner_rm.rewards import parse_spec, score, score_groups
from reasoner_rm.rewards.aggregate import shrink_by_spread
from reasoner_rm.rewards.sentence import sentences, token_advantages
from reasoner_rm.schema import Completion, Group, RewardContext, Sample, Verdict
from reasoner_rm.tasks import get_task

ROW = Sample(
    "q", "qa", "What is there?", gold={"answer": "a cat", "kind": "text", "references": ["a cat", "an animal"]},
    meta={"facts": "a grey cat"},
)  # fmt: skip


def turn(answer: str) -> str:
    return f"<think>I look.</think><answer>{answer}</answer>"


def job(texts: Sequence[str], **scorers: Any) -> tuple[Group, Any, RewardContext]:
    group = Group(ROW, tuple(Completion(t, (), (), "stop") for t in texts))
    return group, [get_task("qa").parse(t, ROW) for t in texts], RewardContext(scorers=scorers)


def values(name: str, texts: Sequence[str], params: Any = None, **scorers: Any) -> tuple[float | None, ...]:
    return score_groups(parse_spec(name, params), [job(texts, **scorers)])[0][name].values


def test_a_judge_sees_readable_answers_and_the_facts() -> None:
    asked: list[Any] = []

    def judge(sample: Sample, answers: list[str], facts: Any) -> list[Any]:
        asked.append((sample.id, answers, facts))
        return [0.9, [1, 1, 0], None]

    texts = [turn("a cat"), "no tags", turn("a dog"), turn("a cow")]
    assert values("judged", texts, {"facts": "facts"}, judge=judge) == (0.9, 0.0, pytest.approx(2 / 3), None)
    assert asked == [("q", ["a cat", "a dog", "a cow"], "a grey cat")]
    assert values("judged", ["no tags"], judge=judge) == (0.0,) and len(asked) == 1


def test_votes_that_disagree_count_for_less() -> None:
    votes = lambda sample, answers, facts: [[1.0, 1.0], [1.0, 0.0]]  # noqa: E731
    sure, split = values("judged", [turn("a"), turn("b")], {"uncertainty": 1.0}, judge=votes)
    assert sure == 1.0 and split == pytest.approx(0.75 + 0.36788 * (0.5 - 0.75), abs=1e-4)
    assert shrink_by_spread([None, 1.0], [None, 5.0], 1.0) == [None, 1.0]


def test_yes_or_no() -> None:
    logits = lambda sample, answers: [(2, 0), (-9999, 9999), None]  # noqa: E731
    found = values("yes_no", [turn("a"), turn("b"), turn("c"), "x"], yes_no=logits)
    assert found == (pytest.approx(0.8808, abs=1e-4), pytest.approx(0), None, 0)


def test_captions_against_references() -> None:
    nli = lambda sample, answers, references: [[(0.7, 0.2, 0.1), (0.4, 0.4, 0.2)] for _ in answers]  # noqa: E731
    near = lambda sample, answers, references: [[0.4, 0.9] for _ in answers]  # noqa: E731
    assert values("fidelity", [turn("a cat"), "x"], nli=nli) == (pytest.approx(0.4), -1)
    assert values("adequacy", [turn("a cat"), "x"], similarity=near) == (0.9, 0)
    context = RewardContext(scorers={"nli": nli, "similarity": near})
    assert score("mocha", turn("a cat"), ROW, context)["total"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.9)
    bare = Sample("q", "qa", "?", gold={"answer": "7", "kind": "number"})
    assert score("mocha", turn("7"), bare, context)["total"] is None


def test_scores_in_numpys_and_pytorchs_numbers_are_numbers() -> None:
    texts = [turn("a cat"), turn("a dog")]
    for scores in (np.array([0.5, 0.25], np.float32), [np.float32(0.5), np.float16(0.25)], torch.tensor([0.5, 0.25])):
        assert values("judged", texts, judge=lambda s, a, f, scores=scores: scores) == (0.5, 0.25)
    votes = [np.array([1, 0, 1, 0], np.float32), (np.float32(0.25),)]
    assert values("judged", texts, judge=lambda s, a, f: votes) == (0.5, 0.25)
    logits = torch.tensor([[2.0, 0.0], [-torch.inf, 0.0]])
    assert values("yes_no", texts, yes_no=lambda s, a: logits) == (pytest.approx(0.8808, abs=1e-4), pytest.approx(0))
    claims = lambda s, texts: np.array([1, -1], np.float32)[: len(texts)]  # noqa: E731
    assert values("sentences", [turn("A cat. A dog.")], sentences=claims) == (0.0,)
    assert values("sentences", [turn("A cat. A dog."), turn("A")], sentences=lambda s, t: [1, None][-len(t) :]) == (
        1.0,
        None,
    )


@pytest.mark.parametrize(
    "scores", [[10**400, 0.5], ["0.5", 0.5], [float("nan"), 0.5], [0.5], 0.5, "00", [[0.5, None], 0.5], [{}, 0.5]]
)
def test_a_scorers_other_values_are_refused_in_one_line(scores: Any) -> None:
    with pytest.raises(InputError, match=r"^scorer judge returned .* for sample 'q'; return a score for each of the 2"):
        values("judged", [turn("a"), turn("b")], judge=lambda s, a, f: scores)


def test_a_missing_scorer_is_named() -> None:
    with pytest.raises(InputError, match=r"reward judged asks a scorer 'judge'.*grpo\.scorers\.judge"):
        score("judged", turn("a"), ROW)


def test_awaited_rewards_wait_together_and_not_for_ever() -> None:
    async def slow(sample: Sample, answers: list[str], facts: Any) -> list[float]:
        if "never" in answers[0]:
            await asyncio.sleep(60)
        if "cut" in answers[0]:
            raise ConnectionResetError
        await asyncio.sleep(0.2)
        return [0.5] * len(answers)

    jobs = [job([turn(a), turn("b")], judge=slow) for a in ("a", "never", "cut", *"cdefgh")]
    began = time.perf_counter()
    found = score_groups(parse_spec({"judged": 1.0, "format": 1.0}), jobs, timeout=0.6)
    assert time.perf_counter() - began < 2
    assert [row["judged"].values for row in found] == [(0.5, 0.5), (None, None), (None, None)] + [(0.5, 0.5)] * 6
    assert all(row["format"].values == (1.0, 1.0) for row in found)


def test_a_bug_in_a_scorer_shows() -> None:
    def broken(sample: Sample, answers: list[str], facts: Any) -> list[float]:
        raise KeyError("score")

    with pytest.raises(KeyError):
        values("judged", [turn("a")], judge=broken)


def test_awaited_rewards_run_where_a_loop_runs_already() -> None:
    async def notebook() -> float | None:
        return score("judged", turn("a"), ROW, RewardContext(scorers={"judge": lambda *_: [0.5]}))["total"]

    assert asyncio.run(notebook()) == 0.5


# --- sentences ---


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("A cat. It sleeps.", ["A cat.", "It sleeps."]),
        ("One cat, 3.5 kg! Is it? Yes", ["One cat, 3.5 kg!", "Is it?", "Yes"]),
        ("line one\n\n  line two", ["line one", "line two"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_sentences(answer: str, found: list[str]) -> None:
    text = turn(answer)
    assert [text[a:b] for a, b in sentences(text, answer)] == found


def test_sentences_are_paid_and_pay_their_tokens() -> None:
    marks = {"A cat.": 1, "A dog.": -1, "It sleeps.": 1}
    text = turn("A cat. A dog. It sleeps.")
    context = RewardContext(scorers={"sentences": lambda sample, said: [marks[s] for s in said]})
    assert score("sentences", text, ROW, context)["total"] == pytest.approx(1 / 3)
    group = Group(ROW, (Completion(text, (), (), "stop"),))
    parsed = [get_task(ROW.task).parse(text, ROW)]
    spans = score_groups(parse_spec("sentences"), [(group, parsed, context)])[0]["sentences"].spans
    assert [(text[a:b], v) for a, b, v in spans[0]] == [("A cat.", 1), ("A dog.", -1), ("It sleeps.", 1)]
    assert score("sentences", "no tags", ROW, context)["total"] == -1
    start = text.index("A cat.")
    ends = [list(range(1, len(text) + 1))]
    tokens = token_advantages([0.5], spans, ends)[0]
    assert set(tokens[:start]) == {0.5} and tokens[start] > 0.5 > tokens[start + len("A cat. ")]


@pytest.mark.parametrize("text", ["Image 1 shows a 7.", "ein Bär – 熊 🐻!", "<think>a</think>", ""])
def test_tokens_end_where_their_text_does(tiny: Vlm, text: str) -> None:
    ids = tiny.tokenizer(text, add_special_tokens=False).input_ids
    ends = token_ends(tiny.tokenizer, [*ids, tiny.tokenizer.eos_token_id], text)
    assert ends == sorted(ends) and ends[-1] == len(text) and len(ends) == len(ids) + 1
    for n, end in zip(range(1, len(ids) + 1), ends, strict=False):
        said = tiny.tokenizer.decode(ids[:n])
        if "\ufffd" not in said:
            assert said == text[:end]


# --- a judge of this project ---


class Ranking(Judge):
    """Prefers the answer that comes first in the alphabet; cannot read pairs with a question mark."""

    def __init__(self) -> None:
        self.asked: list[Sample] = []

    def verdicts(self, samples: Sequence[Sample], votes: int = 1, both_orders: bool = True) -> list[Verdict]:
        self.asked += samples
        shares = [None if "?" in "".join(s.responses) else float(s.responses[0] < s.responses[1]) for s in samples]
        return [Verdict(None, p, "", None, (), p is not None) for p in shares]


def test_a_judge_pays_the_share_of_wins() -> None:
    judge = Ranking()
    context = {"judge": JudgeScorer(judge)}
    texts = [turn(a) for a in ("b", "a", "c", "b")]
    assert values("judged", texts, {"facts": "facts"}, **context) == (0.5, 1.0, 0.0, 0.5)
    assert len(judge.asked) == 3 and judge.asked[0].prompt.endswith("Known to be true: a grey cat")
    assert values("judged", [turn("a"), turn("x?y")], **context) == (None, None)
    assert values("judged", [turn("a"), turn("a")], **context) == (None, None)
