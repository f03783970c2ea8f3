"""Every benchmark's published files become items; every protocol gives figures; what is wrong with a file is named."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from pathlib import Path

import benchmark_files as written
import pytest

from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.prompts import grader_prompt, load_prompt, prompts
from reasoner_rm.evaluation.registry import BENCHMARKS, get_benchmark, list_benchmarks, load_benchmark
from reasoner_rm.evaluation.runner import EvaluatedModel, rescore, run
from reasoner_rm.report.benchmark import summary_lines, write_benchmark_report
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks.render import render


def load(name: str, folder: Path, **how: object) -> list[Sample]:
    return load_benchmark(name, written.WRITERS[name](folder), any_revision=True, **how)


def talkative(sample: Sample) -> str:
    """Something that every reader can read."""
    n = 1 + zlib.crc32(f"{sample.id}{sample.images}{sample.responses}".encode()) % 2
    noun = PAIRWISE_TASKS[sample.task].noun if sample.task in PAIRWISE_TASKS else "Image"
    box = '[{"bbox_2d": [1, 1, 12, 12], "label": "cup"}]'
    answer = box if sample.task in ("detection", "grounding") else f"{noun} {n} is better"
    return (
        f"[1, 0] 7 yes Therefore, Answer {n} is better. [[{'AB'[n - 1]}>{'BA'[n - 1]}]] [[{'AB'[n - 1]}]]\n"
        f"BETTER IMAGE: {n}\nrating: 4\n\\boxed{{red}}\n<answer>{answer}</answer>"
    )


@pytest.mark.parametrize("name", list_benchmarks())
def test_from_the_published_files_to_a_page(name: str, tmp_path: Path) -> None:
    benchmark = get_benchmark(name)
    samples = load(name, tmp_path / "data")
    assert len({s.id for s in samples}) == len(samples)
    wide = benchmark.protocols[0]
    if samples[0].task in PAIRWISE_TASKS:
        wide = wide.with_options(order="both", votes=max(p.votes for p in benchmark.protocols))
    judge = CallablePredictor(talkative)
    run(
        benchmark,
        samples,
        EvaluatedModel(judge, {"model": "talkative"}),
        wide,
        tmp_path / "out",
        grader=judge,
        blind=True,
    )
    for protocol in benchmark.protocols:
        scores = rescore(tmp_path / "out", protocol.name)
        name_of, figure = scores.metrics.headline
        assert figure.value is not None and name_of, protocol.name
        assert "blind" in scores.baselines and summary_lines(scores.as_json())
        page = write_benchmark_report(tmp_path / "out", protocol.name).read_text()
        assert benchmark.title in page and protocol.name in page
        json.dumps(scores.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", list_benchmarks())
def test_every_prompt_can_be_rendered(name: str, tmp_path: Path) -> None:
    benchmark = get_benchmark(name)
    samples = load(name, tmp_path)
    for protocol in benchmark.protocols:
        template = prompts(protocol)
        for sample in samples:
            for shown in (sample, sample.swapped()) if sample.task in PAIRWISE_TASKS else (sample,):
                assert render(shown, template(shown)).content
    for sample in samples:
        grading = benchmark.grading(sample) if benchmark.grading else None
        if grading:
            asked = grading.ask(sample, "It is <image> red.")
            assert render(asked, grader_prompt(asked)).content


def test_no_template_is_left_over() -> None:
    used = {p.template for name in BENCHMARKS for p in get_benchmark(name).protocols if p.template}
    used |= {"two_scores", "mmhal_grade", "vlrmbench_foresight", "vlrmbench_error_reason_analysis"}
    used |= {"vlrmbench_error_correction"}
    from reasoner_rm.evaluation.prompts import TEMPLATES

    assert {file.stem for file in TEMPLATES.glob("*.txt")} == used
    assert all(load_prompt(name).text for name in used)


# --- what was read ---


def test_multimodal_rewardbench_falls_in_parts(tmp_path: Path) -> None:
    samples = load("multimodal_rewardbench", tmp_path)
    assert Counter(s.meta["by"]["part"] for s in samples) == {
        "general correctness": 1, "safety/bias": 1, "safety/toxicity": 1, "reasoning/math": 2, "reasoning/coding": 1,
        "VQA": 1,
    }  # fmt: skip
    assert [s.gold["p_first"] for s in samples] == [1.0, 0.0] * 3 + [1.0]


def test_mm_rlhf_takes_its_category_from_the_path(tmp_path: Path) -> None:
    samples = load("mm_rlhf_rewardbench", tmp_path)
    assert [s.meta["by"]["group"] for s in samples] == ["mcq", "mcq", "long", "safety", "video", "short"]
    assert [s.group_id for s in samples] == ["q0", "q0", "q1", "q1", "q2", "q2"] and samples[4].videos


def test_mj_bench_in_both_layouts(tmp_path: Path) -> None:
    assert [s.gold["p_first"] for s in load("mj_bench", tmp_path / "a")] == [1.0, 0.0, 1.0, 0.0]
    later = load_benchmark("mj_bench", written.mj_bench_later(tmp_path / "b"), "quality", any_revision=True)
    assert {s.gold["p_first"] for s in later} == {1.0} and {s.meta["by"]["part"] for s in later} == {
        "blur",
        "distortion",
    }


def test_rankings_become_pairs_with_ties(tmp_path: Path) -> None:
    samples = load("imagereward", tmp_path)
    assert len(samples) == 3 + 6 + 1 + 1 and sum(s.gold["p_first"] == 0.5 for s in samples) == 2
    assert len({s.group_id for s in samples}) == 4


def test_rapidata_in_both_layouts(tmp_path: Path) -> None:
    assert [s.gold["p_first"] for s in load("rapidata", tmp_path / "a")] == [
        pytest.approx(20 / 26),
        pytest.approx(3 / 26),
        0.5,
    ]
    weighted = load_benchmark("rapidata", written.rapidata_weighted(tmp_path / "b"), any_revision=True)
    assert [s.gold["p_first"] for s in weighted] == [pytest.approx(0.8), pytest.approx(0.1)]


def test_rapidata_with_the_caption_and_as_it_was_rated(tmp_path: Path) -> None:
    """The same pairs and labels, in the words of the prompt that a model is asked with."""
    shown, rated = (load(name, tmp_path / name) for name in ("rapidata", "rapidata_as_rated"))
    assert [(s.id, s.gold, s.group_id, s.meta["by"]) for s in shown] == [
        (s.id, s.gold, s.group_id, s.meta["by"]) for s in rated
    ]
    for samples, name, captioned in ((shown, "rapidata", True), (rated, "rapidata_as_rated", False)):
        template = prompts(get_benchmark(name).protocol())
        for i, sample in enumerate(samples):
            text = str(render(sample, template(sample)).messages())
            assert (f"square {i}" in text, "caption" in text.lower()) == (captioned, captioned)
            assert ("Which image do you prefer?" in text) != captioned


def test_pickapic_leaves_out_what_has_no_label(tmp_path: Path) -> None:
    assert [s.gold["p_first"] for s in load("pickapic", tmp_path)] == [1.0, 0.0, 0.5, 1.0]


def test_genai_bench_keeps_both_kinds_of_ties(tmp_path: Path) -> None:
    assert [s.gold for s in load("genai_bench_edit", tmp_path)] == [
        {"p_first": 1.0}, {"p_first": 0.0}, {"p_first": 0.5, "tie": "good"}, {"p_first": 0.5, "tie": "bad"},
    ]  # fmt: skip


def test_vlrmbench_keeps_the_tasks_apart(tmp_path: Path) -> None:
    samples = load("vlrmbench", tmp_path)
    assert Counter(s.meta["by"]["group"] for s in samples) == {
        "step_correctness": 2, "image_ref_error": 1, "location_error": 1, "multi_solution": 1, "foresight": 2,
        "error_reason_analysis": 2,
    }  # fmt: skip
    assert samples[-1].gold["steps"] if samples[-1].task == "step_critique" else True
    by = {s.id: s for s in samples}
    assert by["step_correctness-1"].gold["steps"] == [1, 0, 1]  # 1 = sound, in this project's own sense


def test_vicrit_leaves_out_what_was_not_changed(tmp_path: Path) -> None:
    assert [s.gold["changed"] for s in load("vicrit_bench", tmp_path)] == ["a red chair", "three cats", "a tree"]


def test_pope_keeps_its_three_files_apart(tmp_path: Path) -> None:
    samples = load("pope", tmp_path)
    assert Counter(s.meta["by"]["group"] for s in samples) == {"random": 4, "popular": 4, "adversarial": 4}


def test_vlrmbench_divides_a_reasoning_of_one_text(tmp_path: Path) -> None:
    """`reasoning_error` is a text in image_ref_error, location_error and others, a list of steps in the rest."""
    samples = {sample.id: sample for sample in load("vlrmbench", tmp_path)}
    steps = ("STEP1:  It is red:\n- as STEP2: says.", "STEP2: It is round.", "STEP3: So it is a ball.\n\n**STEP4**")
    for name, sound in (("image_ref_error-6b48", [1, 0, 1]), ("location_error-4daf", [0, 1, 1])):
        assert samples[name].responses == steps and samples[name].gold["steps"] == sound
    assert samples["error_reason_analysis-2"].responses == steps and len(samples["image_ref_error-6b48"].images) == 2
    published = tmp_path / "benchmark_data" / "location_error.jsonl"
    other = published.rename(published.with_name("reasoning_error.jsonl"))
    with pytest.raises(InputError, match=r"reasoning_error\.jsonl is no task of VLRMBench"):
        load_benchmark("vlrmbench", tmp_path)
    other.write_text(other.read_text().replace('"category": "c"', '"category": "location_error"'))
    assert "location_error-4daf" in {sample.id for sample in load_benchmark("vlrmbench", tmp_path)}
    published.write_text(
        json.dumps({"id": 1, "image": ["0.png"], "question": "q", "reasoning_error": "STEP1: a", "task_gt": [0, 1]})
    )
    with pytest.raises(InputError, match=r"location_error\.jsonl:1: task_gt holds 2 where 1 are due"):
        load_benchmark("vlrmbench", tmp_path)


def test_truth_takes_the_place_of_votes(tmp_path: Path) -> None:
    assert [s.gold["p_first"] for s in load("samples", tmp_path)] == [0.0, 0.2, 0.5]


# --- facts of the published index ---

INDEX = {
    "POVID": ("hallucination_pair-{}", 448),
    "RLAIF-V": ("RLAIF-V-{}", 233),
    "WildVision": ("wildvision-battle_{}", 173),
    "MathVerse": ("mathverse_{}", 167),
    "MMMU-Pro": ("mmmu_pro-{}", 151),
    "RLHF-V": ("RLHF-V-{}", 68),
    "VLFeedback": ("VLFeedback-{}", 10),
}


@pytest.fixture(scope="module")
def vlrb_index(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """All 1,250 rows by what their ids begin with; 25 ids stand twice, 5 rows have the better answer second."""
    names = [form.format(i) for form, n in INDEX.values() for i in range(n)]
    names[1:26] = names[26:51]
    rows = [written.vl_rewardbench_row(name, i % 7, (1, 0) if i >= 1245 else (0, 1)) for i, name in enumerate(names)]
    folder = written.parquet(tmp_path_factory.mktemp("vlrb"), "test-00000-of-00001.parquet", rows)
    return load_benchmark("vl_rewardbench", folder, media=False)  # the row count is the published one


@pytest.mark.parametrize(
    ("facet", "sizes"),
    [("group", (183, 749, 318)), ("unifiedreward", (631, 301, 318)), ("r1_reward", (484, 448, 318))],
)
def test_vl_rewardbench_has_the_published_groups(vlrb_index: list[Sample], facet: str, sizes: tuple[int, ...]) -> None:
    found = Counter(s.meta["by"][facet] for s in vlrb_index)
    assert (found["general"], found["hallucination"], found["reasoning"]) == sizes
    assert len(vlrb_index) == 1250 and len({s.group_id for s in vlrb_index}) == 1225


def test_always_first_is_nearly_always_right_in_file_order(vlrb_index: list[Sample], tmp_path: Path) -> None:
    benchmark = get_benchmark("vl_rewardbench")
    protocol = benchmark.protocol("both_orders").with_options(order="given")
    out = tmp_path / "out"
    scores = run(benchmark, vlrb_index, EvaluatedModel(CallablePredictor(lambda s: 0)), protocol, out, batch=500)
    assert scores.metrics.headline[1].value == pytest.approx(1245 / 1250)
    both = protocol.with_options(order="both")
    scores = run(
        benchmark, vlrb_index, EvaluatedModel(CallablePredictor(lambda s: 0)), both, tmp_path / "both", batch=500
    )
    assert scores.metrics.headline[1].value == 0.5 and scores.diagnostics.first_position == 1.0
    assert scores.diagnostics.consistency == 0.0 and any("shown first" in r for r in scores.warnings)
    assert rescore(tmp_path / "both", "r1_reward").metrics.headline[1].value == 1.0  # what it would reach there


def test_imagereward_has_the_published_pairs(tmp_path: Path) -> None:
    """466 prompts in the published sizes; as many pairs as published have equal ranks."""
    rows, tied = [], 0
    for size, n in {4: 194, 7: 159, 6: 45, 8: 43, 9: 23, 5: 2}.items():
        for _ in range(n):
            ranking = list(range(1, size + 1))
            if size == 4 and tied < 827:  # 1, 1, 1, 4 ties three pairs, all alike tie six
                ranking = [1] * 4 if tied + 6 <= 827 and len(rows) < 137 else [1, 1, 1, 4]
                tied += 6 if ranking[3] == 1 else 3
            rows.append(
                {
                    "id": str(len(rows)),
                    "prompt": "p",
                    "generations": [f"{k}.webp" for k in range(size)],
                    "ranking": ranking,
                }
            )
    missing = 831 - sum(_equal(row["ranking"]) for row in rows)
    for row in rows[200 : 200 + missing]:
        row["ranking"][1] = row["ranking"][0]
    folder = written.as_json(tmp_path, "test.json", rows)
    samples = load_benchmark("imagereward", folder, media=False)
    assert len(samples) == 7230 and sum(s.gold["p_first"] != 0.5 for s in samples) == 6399


def _equal(ranks: list[int]) -> int:
    return sum(a == b for i, a in enumerate(ranks) for b in ranks[i + 1 :])


# --- bad input ---


@pytest.mark.parametrize("name", [n for n in list_benchmarks() if get_benchmark(n).rows])
def test_another_revision_is_named_with_what_was_expected(name: str, tmp_path: Path) -> None:
    data = written.WRITERS[name](tmp_path)
    with pytest.raises(InputError, match=rf"another revision of {name}: [\d,]+ rows .* (is|are) expected"):
        load_benchmark(name, data)


def test_a_missing_column_is_named_with_what_was_expected(tmp_path: Path) -> None:
    row = written.vl_rewardbench_row("RLHF-V-1", 0)
    del row["human_ranking"]
    written.parquet(tmp_path, "test-0.parquet", [row])
    with pytest.raises(
        InputError, match="another revision of vl_rewardbench: no column human_ranking; expected the columns id"
    ):
        load_benchmark("vl_rewardbench", tmp_path)


def test_a_missing_image_names_the_item(tmp_path: Path) -> None:
    data = written.multimodal_rewardbench(tmp_path)
    (data / "images" / "src" / "3.png").unlink()
    with pytest.raises(InputError, match=r"item 'math-4'.*no such image"):
        load_benchmark("multimodal_rewardbench", data)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("multimodal_rewardbench", {"Better": "Output3"}, "Better is 'Output3'"),
        ("multimodal_rewardbench", {"Output1": ""}, "empty Output1"),
        ("multimodal_rewardbench", {"Image": "../../etc/passwd"}, "leaves the data folder"),
        ("imagereward", {"ranking": [1]}, "ranking"),
        ("editreward_bench", {"human_vote": {"ranking": "A>Z"}}, "does not rank"),
    ],
)
def test_a_bad_row_is_named_with_its_place(name: str, change: dict, says: str, tmp_path: Path) -> None:
    data = written.WRITERS[name](tmp_path)
    file = sorted(data.glob("*.json"))[0]
    rows = json.loads(file.read_text())
    rows[1] |= change
    file.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=re.escape(says)) as wrong:
        load_benchmark(name, data, any_revision=True)
    assert file.name in str(wrong.value)
