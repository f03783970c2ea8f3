"""A benchmark from its files to its report: asked, killed, gone on with, counted again, compared."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmark_files import vl_rewardbench
from chat_server import ChatServer, chat
from chromium import dom, needs_chromium
from shell import shell

from reasoner_rm.cli import main
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.comparison import compare
from reasoner_rm.evaluation.predictions import Prediction
from reasoner_rm.evaluation.predictors import CallablePredictor, EnginePredictor, Query
from reasoner_rm.evaluation.prompts import prompts
from reasoner_rm.evaluation.registry import get_benchmark, load_benchmark
from reasoner_rm.evaluation.result_dir import ResultDir
from reasoner_rm.evaluation.runner import EvaluatedModel, rescore, run
from reasoner_rm.models.loading import Vlm
from reasoner_rm.report.benchmark import write_benchmark_report
from reasoner_rm.rollout import SamplingParams
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.schema import Sample

VLRB = get_benchmark("vl_rewardbench")
GROUPS = {"general": 2, "hallucination": 4, "reasoning": 2}


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return load_benchmark("vl_rewardbench", vl_rewardbench(tmp_path / "data"), any_revision=True)


def longer(sample: Sample) -> str:
    """Says that the longer answer is better; nothing readable where they are equally long."""
    one, two = map(len, sample.responses)
    return "They are alike." if one == two else f"Overall Judgment: Answer {1 + (two > one)} is better."


def evaluated(samples: Sequence[Sample], out: Path, judge=longer, protocol: str = "both_orders", **how):  # type: ignore[no-untyped-def]
    subject = EvaluatedModel(CallablePredictor(judge), {"model": judge.__name__})
    return run(VLRB, samples, subject, VLRB.protocol(protocol), out, **how)


def test_figures_by_hand(samples: list[Sample], tmp_path: Path) -> None:
    """The second answer is always longer; it is the better one in row 3 alone."""
    scores = evaluated(samples, tmp_path / "out", blind=True)
    assert scores.metrics.headline[1].value == pytest.approx(1 / 8)
    assert scores.diagnostics.consistency == 1.0 and scores.diagnostics.first_position == 0.5
    assert scores.baselines["always first"].value == 0.5
    assert scores.baselines["random"].value == pytest.approx(0.5, abs=0.05), "no single draw"
    assert scores.baselines["longer wins"].value == pytest.approx(1 / 8)
    assert scores.baselines["blind"].value == pytest.approx(1 / 8)
    assert {k: f.n for k, f in scores.metrics.groups["group"].items()} == GROUPS


def test_a_repeated_id_stays_an_item_of_its_own(samples: list[Sample]) -> None:
    assert [s.id for s in samples if s.id.startswith("RLAIF")] == ["RLAIF-V-1", "RLAIF-V-1~2"]
    assert len({s.group_id for s in samples if s.id.startswith("RLAIF")}) == 1
    assert samples[0].prompt == "What is shown in 0?"


def test_all_protocols_follow_from_both_orders(samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        VLRB,
        samples,
        EvaluatedModel(CallablePredictor(longer)),
        VLRB.protocol("official").with_options(order="both"),
        out,
    )
    found = {p.name: rescore(out, p.name).metrics.headline[1].value for p in VLRB.protocols}
    assert found["r1_reward"] is not None and found["unifiedreward"] == pytest.approx(1 / 8)
    assert json.loads((out / "scores.json").read_text())["protocol"]["name"] == "official (order=both)"
    for name in found:
        assert ResultDir(out).scores(name)["headline"]["value"] == found[name]
        assert json.loads((out / f"scores.{name}.json").read_text())["protocol"]["name"] == name


def test_votes_that_were_never_cast_are_named(samples: list[Sample], tmp_path: Path) -> None:
    evaluated(samples, tmp_path, protocol="unifiedreward")
    with pytest.raises(InputError, match=r"protocol 'official' needs vote 2 of item 'RLAIF-V-1'.*--votes"):
        rescore(tmp_path, "official")


class Dying:
    """A judge that is cut off after some batches."""

    def __init__(self, batches: int):
        self.left, self.asked = batches, []

    def __call__(self, asks: Sequence[Query]) -> list[list[Prediction]]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += [(ask.sample.id, ask.order) for ask in asks]
        return CallablePredictor(longer)(asks)


def test_a_run_goes_on_where_it_was_killed(samples: list[Sample], tmp_path: Path) -> None:
    first, second = Dying(2), Dying(99)
    protocol = VLRB.protocol("both_orders")
    with pytest.raises(KeyboardInterrupt):
        run(VLRB, samples, EvaluatedModel(first), protocol, tmp_path / "a", batch=3)
    with (tmp_path / "a" / "predictions.jsonl").open("ab") as file:
        file.write(b'{"id": "half a li')  # as if it was killed within a line
    scores = run(VLRB, samples, EvaluatedModel(second), protocol, tmp_path / "a", batch=3)
    assert len(first.asked) == 12 and len(second.asked) == 4  # six items in two orders, then the other two
    whole = run(VLRB, samples, EvaluatedModel(Dying(99)), protocol, tmp_path / "b", batch=3)
    assert scores.as_json() == whole.as_json()
    assert (tmp_path / "a" / "predictions.jsonl").read_bytes() == (tmp_path / "b" / "predictions.jsonl").read_bytes()


def test_another_evaluation_is_not_gone_on_with(samples: list[Sample], tmp_path: Path) -> None:
    evaluated(samples, tmp_path)
    with pytest.raises(InputError, match="other settings"):
        evaluated(samples, tmp_path, protocol="unifiedreward")


@pytest.mark.slow
def test_a_real_kill(tmp_path: Path) -> None:
    """The shell's own verb, killed in mid-run by the system, and then run again."""
    data = vl_rewardbench(tmp_path / "data")
    judge = tmp_path / "judge.py"
    judge.write_text(
        "import time\ndef slow(sample):\n    time.sleep(0.15)\n    return 'Overall Judgment: Answer 1 is better'\n"
    )
    verb = [
        "eval", "vl_rewardbench", "--data", str(data), "--any-revision", "--model", f"{judge}:slow", "--protocol",
        "both_orders", "--out", str(tmp_path / "out"), "--batch", "1",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "reasoner_rm", *verb], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    predictions = tmp_path / "out" / "predictions.jsonl"
    deadline = time.monotonic() + 60
    while not (predictions.is_file() and predictions.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = predictions.read_bytes()
    assert 3 <= before.count(b"\n") < 9
    done = shell(*verb)
    assert done.returncode == 0, done.stderr
    assert predictions.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert len({json.loads(line)["id"] for line in predictions.read_text().splitlines()[1:]}) == 8
    assert "accuracy" in done.stdout and (tmp_path / "out" / "report.html").is_file()


def test_a_judge_without_verdicts_gets_a_report_that_says_so(samples: list[Sample], tmp_path: Path) -> None:
    def silent(sample: Sample) -> str:
        return "I would rather not say."

    for protocol in ("official", "both_orders", "lmms_eval"):
        out = tmp_path / protocol
        scores = evaluated(samples, out, silent, protocol)
        assert scores.diagnostics.unparsed == 1.0 and "No vote could be read" in scores.warnings[0]
        assert "No vote could be read" in write_benchmark_report(out).read_text()
    assert evaluated(samples, tmp_path / "official", silent, "official").metrics.headline[1].value is None
    assert evaluated(samples, tmp_path / "both_orders", silent).metrics.headline[1].value == 0.0


def test_repeated_and_missing_predictions_are_counted(samples: list[Sample], tmp_path: Path) -> None:
    evaluated(samples, tmp_path)
    file = tmp_path / "predictions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    other = json.loads(lines[1])
    for vote in other["votes"]:
        vote["text"] = "hm"
    file.write_text("".join([*lines[:-1], json.dumps(other) + "\n", '{"id": "who", "votes": []}\n']))
    scores = rescore(tmp_path)
    assert scores.n == 7 and scores.item_scores["RLAIF-V-1"] == 0.0  # the last line counts
    assert ResultDir(tmp_path).scores()["anomalies"] == {"missing": 1, "repeated": 1, "unknown": 1}


def test_a_scalar_head_needs_no_words(samples: list[Sample], tmp_path: Path) -> None:
    scores = evaluated(samples, tmp_path, lambda s: [float(len(r)) for r in s.responses])
    assert scores.metrics.headline[1].value == pytest.approx(1 / 8)
    assert scores.diagnostics.consistency == 1.0


def test_what_a_callable_may_not_return(samples: list[Sample], tmp_path: Path) -> None:
    for wrong in (True, b"x", 3, object()):
        with pytest.raises(InputError, match="the judge gave"):
            evaluated(samples, tmp_path / repr(type(wrong)), lambda s, wrong=wrong: wrong)


def test_two_results_are_compared_item_by_item(samples: list[Sample], tmp_path: Path) -> None:
    def shorter(sample: Sample) -> str:
        return longer(sample).translate(str.maketrans("12", "21"))

    evaluated(samples, tmp_path / "a")
    evaluated(samples, tmp_path / "b", shorter)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.overall.a, found.overall.b) == (pytest.approx(1 / 8), pytest.approx(7 / 8))
    assert found.overall.difference == 0.75 and (found.overall.only_a, found.overall.only_b) == (1, 7)
    assert found.overall.interval[0] < 0.75 <= found.overall.interval[1]
    assert {k: d.n for k, d in found.groups["group"].items()} == GROUPS
    evaluated(samples, tmp_path / "c", protocol="unifiedreward")
    with pytest.raises(InputError, match="another protocol"):
        compare(tmp_path / "a", tmp_path / "c")


def test_another_protocols_scores_are_beside_those_that_are_compared(samples: list[Sample], tmp_path: Path) -> None:
    """A rescore changes neither the comparison nor what a release takes; its own scores can be compared too."""
    protocol = VLRB.protocol("official").with_options(order="both")
    for name in "ab":
        run(VLRB, samples, EvaluatedModel(CallablePredictor(longer)), protocol, tmp_path / name)
    own, before = ResultDir(tmp_path / "a").scores(), compare(tmp_path / "a", tmp_path / "b")
    rescore(tmp_path / "a", "unifiedreward")
    rescore(tmp_path / "a", unparsed="coin")
    assert ResultDir(tmp_path / "a").scores() == own and compare(tmp_path / "a", tmp_path / "b") == before
    names = ["scores.json", "scores.official-order=both-unparsed=coin.json", "scores.unifiedreward.json"]
    assert sorted(p.name for p in (tmp_path / "a").glob("scores*")) == names
    assert compare(tmp_path / "a", tmp_path / "b", protocol="unifiedreward").protocol == "unifiedreward"
    with pytest.raises(InputError, match=r"no scores\.r1_reward\.json; `rescore` writes it"):
        ResultDir(tmp_path / "a").scores("r1_reward")
    run(VLRB, samples, EvaluatedModel(CallablePredictor(longer)), protocol, tmp_path / "a")  # resumed: nothing is asked
    assert ResultDir(tmp_path / "a").scores() == own


def test_a_model_is_asked_with_the_protocols_prompt(samples: list[Sample], tmp_path: Path, tiny: Vlm) -> None:
    protocol = VLRB.protocol("both_orders")
    judge = EnginePredictor(TransformersEngine(tiny), prompts(protocol), SamplingParams(0.0, 8))
    scores = run(VLRB, samples[:3], EvaluatedModel(judge, {"model": "tiny"}), protocol, tmp_path)
    assert (
        scores.diagnostics.unparsed == 1.0
        and scores.diagnostics.tokens == 16.0
        and scores.diagnostics.truncated is not None
    )
    first = ResultDir(tmp_path).answered_items()[0][0]
    assert {v.order for v in first.predictions} == {"given", "swapped"} and all(v.text for v in first.predictions)


def test_the_shell(tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = vl_rewardbench(tmp_path / "data")
    common = ["eval", "vl-rewardbench", "--data", str(data), "--model", str(tiny_folder)]
    common += ["--out", str(tmp_path / "out")]

    def shell(*command: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            main([*command])
        said = capsys.readouterr()
        return int(done.value.code or 0), said.out, said.err

    code, _, err = shell(*common)
    assert code == 2 and "8 rows in split 'test' where 1,250 or 1,247 are expected" in err
    code, out, err = shell(*common, "--any-revision", "--protocol", "both_orders", "--max-tokens", "4", "--json")
    assert code == 0 and json.loads(out)["protocol"]["name"] == "both_orders", err
    code, out, err = shell("rescore", str(tmp_path / "out"), "--unparsed", "coin", "--json")
    assert code == 0 and json.loads(out)["protocol"]["name"] == "both_orders (unparsed=coin)"
    assert (tmp_path / "out" / "report.both_orders-unparsed=coin.html").is_file()
    assert "unparsed=coin" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert shell("rescore", str(tmp_path / "out"), "--tie", "maybe")[0] == 2
    code, _, err = shell(*common, "--any-revision", "--top-p", "1.5")
    assert code == 2 and "top_p is 1.5; give more than 0, and at most 1" in err
    code, out, _ = shell("eval", "compare", str(tmp_path / "out"), str(tmp_path / "out"))
    assert code == 0 and "B - A" in out
    code, out, _ = shell("eval", "compare", str(tmp_path / "out"), str(tmp_path / "out"), "--tie", "drop", "--json")
    assert code == 0 and json.loads(out)["protocol"] == "both_orders (tie=drop)"
    assert "official" in shell("eval", "--list")[1]
    assert shell("eval", "vl_reward_bench")[0] == 2


@needs_chromium
@pytest.mark.browser
def test_the_page_shows_items_to_choose_among(samples: list[Sample], tmp_path: Path) -> None:
    def mixed(sample: Sample) -> str:
        return "hm" if sample.id.startswith("mmmu") else "Therefore, Answer 1 is better."

    evaluated(samples, tmp_path / "out", mixed)
    page = write_benchmark_report(tmp_path / "out").read_text()
    assert "both_orders" in page and "first position" in page
    script = 'document.querySelector(`[data-flag="unparsed"]`).click()'
    shown = dom(page, tmp_path, script)
    assert shown.count('<article class="item"') == 1 and "mmmu_pro-5" in shown


def test_any_openai_compatible_endpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked as the protocol samples, at a price."""
    server = ChatServer(lambda body: chat(*["Overall Judgment: Answer 1 is better."] * body["n"]), models=("judge",))
    data = vl_rewardbench(tmp_path / "data")
    with pytest.raises(SystemExit) as done:
        main([
            "eval", "vl_rewardbench", "--data", str(data), "--any-revision", "--model", "judge", "--url", server.url,
            "--votes", "4", "--order", "both", "--out", str(tmp_path / "out"), "--json", "--budget", "1",
            "--input-price", "1", "--requests-per-minute", "6000",
        ])  # fmt: skip
    server.stop()
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    scores = json.loads(said.out)
    assert scores["diagnostics"]["first_position"] == 1.0 and scores["diagnostics"]["unparsed"] == 0.0
    assert len(server.bodies) == 16
    assert "cost of the judge: 16 requests, 16000 tokens in, 1600 out, $0.02" in said.err
    for body in server.bodies:
        assert (body["temperature"], body["top_p"], body["n"]) == (0.2, 0.2, 4)
        assert any(part["type"] == "image_url" for part in body["messages"][0]["content"])
