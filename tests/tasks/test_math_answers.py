"""Formulas: what is equal is right, whatever its form; what hangs or explodes is wrong, and soon."""

from __future__ import annotations

import os
import resource
import threading
import time

import pytest

from reasoner_rm.evaluation.answer_metrics import task_accuracy, task_vote_score
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.rewards import parse_spec, score, score_components
from reasoner_rm.schema import Completion, Group, RewardContext, Sample
from reasoner_rm.tasks import get_task
from reasoner_rm.tasks.math_answers import _WORKER, EACH, MAX_FORMULA, REST, formula, rational, same_formula


@pytest.mark.parametrize(
    ("said", "gold", "equal"),
    [
        ("\\frac{1}{2}", "0.5", True),
        ("1/2", "0.5", True),
        ("(x+1)^2", "x^2+2x+1", True),
        ("2\\sqrt{2}", "\\sqrt{8}", True),
        ("50\\%", "0.5", True),
        ("x=3", "3", True),
        ("7", "8", False),
        ("1/0", "3", False),
        ("x^2", "x^3", False),
        ("(((((", "1", False),
        ("\\frac{" * 30, "1", False),
        ("the answer", "3", False),
    ],
)
def test_equality(said: str, gold: str, equal: bool) -> None:
    assert same_formula(said, gold) is equal


def test_what_hangs_is_ended_and_the_next_answer_is_read() -> None:
    began = time.perf_counter()
    assert same_formula("10^{10^{10^{10}}}", "4") is False
    assert time.perf_counter() - began < 10
    assert same_formula("\\frac{2}{6}+x", "x+\\frac{1}{3}") is True


BOMBS = [
    *(f"10^{{10^{{10^{{{n}}}}}}}" for n in range(10, 18)), "(10^{9})!", "((99!)!)!", "\\binom{10^{12}}{10^{9}}",
    "\\sum_{k=1}^{10^{9}} \\sin(k^{k})", "\\prod_{k=1}^{10^{8}} k", "7^{7^{7^{7}}}", "(x+y+z+w)^{900}-1",
    "\\int_0^1 x^{x^{x^{x}}} \\sin(\\tan(x)) dx",
]  # fmt: skip


def test_sixteen_bombs_cost_a_few_seconds_and_no_honest_answer_its_reward() -> None:
    """One limit for the batch, in CPU time; the worker that has imported sympy stays."""
    honest = ["(x+1)^2", "x^2+2x+1", "1+x(x+2)", "\\frac{(x+1)^3}{x+1}"]
    row = Sample("q", "qa", "?", gold={"answer": "x^2 + 2 x + 1", "kind": "math"})
    texts = [f"<think>x</think><answer>{answer}</answer>" for answer in (*BOMBS, *honest, "x^2")]
    group = Group(row, tuple(Completion(text, (), (), "stop") for text in texts))
    parsed = [get_task("qa").parse(text, row) for text in texts]
    with _WORKER._lock:
        worker = _WORKER._started().pid
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = score_components(parse_spec("accuracy"), group, parsed, RewardContext())
    assert _WORKER._process is not None and _WORKER._process.pid == worker
    assert found["accuracy"] == (0.0,) * 16 + (1.0,) * 4 + (0.0,)
    _WORKER.end()  # its CPU time and its forks' are counted with it
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    assert spent < 16 * EACH + REST + 10  # 10: its start, and the other tests


def test_a_child_that_died_is_replaced() -> None:
    assert same_formula("y+1", "1+y")
    assert _WORKER._process is not None
    os.kill(_WORKER._process.pid, 9)
    time.sleep(0.2)
    assert same_formula("y+2", "2+y")


def test_threads_may_ask() -> None:
    """math-verify's own time limit is an alarm, which only a main thread can set."""
    found: list[bool] = []
    threads = [threading.Thread(target=lambda n=n: found.append(same_formula(f"z+{n}", f"{n}+z"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 4


def test_the_task_reads_boxes_and_dollars() -> None:
    row = Sample("q", "qa", "?", gold={"answer": "\\frac{1}{2}", "kind": "math"})
    get_task("qa").validate(row)
    for answer, value in (("$0.5$", 1), ("\\boxed{\\frac{2}{4}}.", 1), ("0.6", 0), ("", 0), ("9" * 5000, 0)):
        assert score("accuracy", f"<think>x</think><answer>{answer}</answer>", row)["total"] == value


def test_reading() -> None:
    assert formula("so \\boxed{3}, or \\boxed{4}") == "4"
    for text in ("\\frac{1}{2", "}{", '["a"]', "a<think>b", "it is one half of it", "1\u202e2"):
        assert formula(text) is None
    assert formula("x<3") == "x<3" and formula("\\{1, 2\\}") and formula("5 square metres")
    assert formula("") is None and formula("1\n2") is None and formula("1" * (MAX_FORMULA + 1)) is None
    assert rational("007") == 7 and rational("1e5") is None and rational("1/0") is None


def test_an_evaluation_compares_the_formulas_of_all_its_votes_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every formula that does not end would have `REST` for itself."""
    batches: list[list[tuple[str, str]]] = []
    compare = _WORKER.compare
    monkeypatch.setattr(_WORKER, "compare", lambda pairs: batches.append(list(pairs)) or compare(pairs))

    def item(gold: str, *said: str, kind: str = "math") -> AnsweredItem:
        votes = (Prediction("given", k, f"<think>x</think><answer>{text}</answer>") for k, text in enumerate(said))
        return AnsweredItem(Sample(gold, "qa", "?", gold={"answer": gold, "kind": kind}), tuple(votes))

    items = [item("u+2", "2+u", "u-2"), item("v+2", "2+v", "v ("), item("a", "a", "b", kind="text")]
    protocol = get_benchmark("samples").protocol().with_options(votes=2)
    assert list(task_accuracy(items, protocol).scores) == [0.5, 0.5, 0.5]
    assert [len(batch) for batch in batches] == [4]
    assert [task_vote_score(items[0], vote, protocol) for vote in items[0].predictions] == [1.0, 0.0]
    assert len(batches) == 1  # what was compared is known
