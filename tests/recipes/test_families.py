"""Every dataset family, from its own columns and types to samples: labels, orders, groups, and what is refused."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import recipe_rows

from data_recipes import RECIPES, get_recipe
from data_recipes.answer_formats import parse_answer
from reasoner_rm.data.build import Built, Settings, build
from reasoner_rm.data.images import open_image
from reasoner_rm.data.io import load_samples
from reasoner_rm.data.pairing import ranks_of
from reasoner_rm.data.parquet import Stored
from reasoner_rm.data.tables import rows
from reasoner_rm.errors import InputError
from reasoner_rm.rewards import score
from reasoner_rm.schema import PAIRWISE_TASKS, Sample
from reasoner_rm.tasks.render import load_template, render


def options_of(name: str, folder: Path, **more: Any) -> Any:
    if name == "pixmo_cap":
        more["image_map"] = str(folder / "map.csv")
    return get_recipe(name).chosen(**more)


def samples(name: str, tmp: Path, data: str = "", split: str | None = None, **options: Any) -> list[Sample]:
    """A fixture, built and read back."""
    folder = tmp / name
    if not folder.is_dir():
        folder.mkdir()
        recipe_rows.FIXTURES[name](folder)
    recipe = get_recipe(name)
    split = split or recipe.splits[0]
    settings = Settings(split=split, decode=True, overwrite=True)
    build(recipe, folder / data, tmp / f"{name}-out", settings, options_of(name, folder, **options))
    return load_samples(tmp / f"{name}-out" / f"{split}.jsonl")


def p_source(sample: Sample) -> float:
    """How much the source's first candidate is preferred, whatever the shown order."""
    p: float = sample.gold["p_first"]
    return round(p if sample.meta["order"] == [0, 1] else 1 - p, 6)


def names(sample: Sample) -> list[str]:
    """The files of the candidates in the source's order."""
    shown = [Path(str(ref)).name for ref in sample.images[PAIRWISE_TASKS[sample.task].shared :]]
    return [shown[sample.meta["order"].index(k)] for k in (0, 1)]


@pytest.mark.parametrize("name", recipe_rows.FIXTURES)
def test_a_fixture_becomes_sound_samples_whose_images_open(name: str, tmp_path: Path) -> None:
    found = samples(name, tmp_path)
    assert found and len({s.id for s in found}) == len(found)
    for sample in found:
        assert sample.source and all(open_image(ref).width for ref in sample.images)


def test_every_recipe_has_a_fixture() -> None:
    assert set(recipe_rows.FIXTURES) == set(RECIPES) - {"mapped"}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("hpdv2", {}, [1, 0]),
        ("hpdv3", {}, [0.9, 1, 0.6]),
        ("hpdv3", {"soft": False}, [1, 1, 1]),
        ("hpdv3", {"min_confidence": 0.9}, [0.9, 1]),
        ("imagereward", {}, [1, 1, 1, 0.5, 1, 1, 0]),
        ("pickapic", {}, [1, 0, 0.5]),
        ("rapidata", {}, [round(20 / 26, 6), 0.5]),
        ("rapidata_weighted", {}, [0.7, 0]),
        ("rapidata_video", {}, [0.8]),
        ("videogen_rb", {}, [1, 0, 0.5]),
        ("videogen_rb", {"aspect": "MQ"}, [0, 0, 0]),
        ("mjbench_video", {}, [1, 0, 0.5]),
        ("mjbench_video", {"aspect": "Alignment"}, [0, 0, 0]),
        ("editreward", {}, [round(2 / 3, 6), 1]),
        ("editreward_bench", {}, [1, 1, 1, 0.5]),
        ("rlaif_v", {}, [1, 1]),
        ("rlhf_v", {}, [1]),
        ("vlfeedback", {}, [1, 1]),
        ("llava_rlhf", {}, [1, 0]),
        ("mm_rlhf", {}, [1, 1]),
        ("mm_rlhf_ranked", {}, [1, 1, 1, 0, 0, 0.5, 1]),
        ("r1_reward", {}, [1, 0]),
        ("imagegen_cot", {}, [1, 0]),
    ],
)
def test_labels_mean_what_the_dataset_says(name: str, options: Any, expected: list[float], tmp_path: Path) -> None:
    found = samples(name, tmp_path, **options)
    assert [p_source(s) for s in found] == pytest.approx(expected, abs=1e-5)


def test_hpdv2_test_ranks_low_is_good(tmp_path: Path) -> None:
    found = samples("hpdv2", tmp_path, split="test")
    assert [(names(s), p_source(s)) for s in found] == [
        (["a.jpg", "b.jpg"], 1),
        (["a.jpg", "c.jpg"], 1),
        (["b.jpg", "c.jpg"], 0.5),
    ]
    assert len({s.group_id for s in found}) == 1


def test_imagereward_repository_file_has_gaps_and_ties(tmp_path: Path) -> None:
    found = samples("imagereward", tmp_path, split="test")
    assert [p_source(s) for s in found] == [1, 1, 1, 0.5, 1, 1]


def test_pickapic_weighs_prompts_equally(tmp_path: Path) -> None:
    assert {s.weight for s in samples("pickapic", tmp_path)} == {0.25}
    assert {s.weight for s in samples("pickapic", tmp_path, balanced=False)} == {1.0}


def test_rapidata_hides_what_raters_did_not_see(tmp_path: Path) -> None:
    hidden = samples("rapidata", tmp_path)[0]
    assert (hidden.prompt, hidden.meta["hidden_caption"]) == ("Which image do you prefer?", "a tree")
    shown = samples("rapidata", tmp_path, show_prompt="always")[0]
    assert shown.prompt == "a tree" and shown.group_id == hidden.group_id
    for name, options in (("rapidata", {}), ("rapidata_video", {}), ("rapidata_rich", {"criterion": "style"})):
        sample = samples(name, tmp_path, **options)[0]
        for variant in ("default", "brief"):
            text = said_to_the_model(sample, variant)
            assert f"Question: {sample.prompt}" in text and "aption" not in text
            assert sample.meta["hidden_caption"] not in text
    assert "Caption: a tree" in said_to_the_model(shown) and "Question" not in said_to_the_model(shown)
    with pytest.raises(InputError, match="template 'unified' always shows a caption"):
        said_to_the_model(hidden, "unified")
    with pytest.raises(InputError, match=r"left out: \{'no weighted_results_image1_coherence"):
        samples("rapidata_weighted", tmp_path, criterion="coherence")


def said_to_the_model(sample: Sample, variant: str = "default") -> str:
    prompt = render(sample, load_template(sample.task, variant))
    parts = zip(prompt.content, prompt.is_image, strict=True)
    return "".join(str(part) for part, image in parts if not image)


def test_rich_feedback_is_three_scores_and_the_words_that_are_missing(tmp_path: Path) -> None:
    found = samples("rapidata_rich", tmp_path)
    assert [s.gold["score"] for s in found] == pytest.approx([4.2, 4.2])
    assert found[0].prompt == "two red kites" and found[0].meta["word_scores"][0] == ["two", 1.25]
    assert found[0].gold["aspects"] == pytest.approx({"alignment": 4.2, "coherence": 3, "style": 2})
    assert len(samples("rapidata_rich", tmp_path, criterion="coherence")) == 1  # the other one was not rated for it
    with pytest.raises(InputError, match=r"outside its scale 0 to 1"):
        samples("rapidata_rich", tmp_path, scale="0,1")
    (film, _) = samples("rapidata_rich_video", tmp_path, criterion="physics")
    assert film.gold["score"] == 2.5 and film.meta["hidden_caption"] == "a wave breaks"
    assert film.meta["word_scores"] == [["breaks", 4]] and Path(str(film.videos[0])).name == "0001_Sora"


def test_large_columns_that_nothing_is_made_of_are_not_read(tmp_path: Path) -> None:
    recipe_rows.rapidata_rich(tmp_path)
    (file,) = tmp_path.glob("data/*.parquet")
    unread = get_recipe("rapidata_rich").unread
    for (_, some), (_, every) in zip(rows(file, unread=unread), rows(file), strict=True):
        assert not isinstance(some, InputError) and not isinstance(every, InputError)
        assert set(every) - set(some) == set(unread) == {"alignment_heatmap", "coherence_heatmap"}


def test_unifiedreward_speaks_eight_dialects(tmp_path: Path) -> None:
    found = samples("unifiedreward", tmp_path)
    assert [p_source(s) for s in found if "p_first" in s.gold] == pytest.approx([1, 0.5, 0, 0.7, 0, 1, 1])
    points = [(s.gold["score"], s.meta["scale"]) for s in found if "score" in s.gold]
    films = [(2, [1, 5]), (3, [1, 5])]
    assert points == [(4, [1, 5]), (7, [1, 10]), (86, [0, 100]), (pytest.approx(10 / 3), [1, 5]), *films]
    assert [len(s.videos) for s in found if "score" in s.gold] == [0, 0, 0, 0, 1, 1]
    assert "the video serves" in said_to_the_model(next(s for s in found if s.videos and "score" in s.gold))
    assert found[0].prompt == "a red barn"
    acs = next(s for s in found if "aspects" in s.gold)
    assert acs.gold["aspects"] == {"alignment": 4.5, "coherence": 3, "style": 2.5}
    assert acs.meta["word_scores"][0] == ["barn", 0.1]
    answer = next(s for s in found if s.task == "response_preference")
    assert set(answer.responses) == {"a barn", "a boat"} and answer.prompt == "what is it?"


@pytest.mark.parametrize("text", ["", "I like them.", "Final Score: 900", "<answer>Image 3 is better</answer>"])
def test_what_no_dialect_reads_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"no verdict and no score|on a scale"):
        parse_answer(text)


def test_the_last_verdict_counts() -> None:
    assert parse_answer("Image 1 is better in colour. Overall, Image 2 is better.").p_first == 0
    assert parse_answer("<think>Image 2 is better?</think><answer>Image 1 is better</answer>").p_first == 1


def test_cold_start_targets_agree_with_their_gold(tmp_path: Path) -> None:
    for sample in samples("imagegen_cot", tmp_path):
        best = 1 if sample.gold["p_first"] == 1 else 2
        assert sample.target is not None and f"<answer>Image {best} is better</answer>" in sample.target
    (sample,) = samples("vision_r1_cold", tmp_path)
    assert sample.gold["answer"] == "2" and str(sample.target).startswith("<think>")


def test_edit_preference_shows_its_source_first(tmp_path: Path) -> None:
    for sample in samples("editreward", tmp_path):
        assert Path(str(sample.images[0])).name == "s.png" and names(sample) == ["w.png", "l.png"]


@pytest.mark.parametrize("text", ["A>B", "A>B>D", "A>A>B", "", "A>B>C>D"])
def test_a_ranking_that_does_not_rank_all_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="does not rank A, B, C"):
        ranks_of(text, 3)


def test_conversations_keep_what_was_said_before(tmp_path: Path) -> None:
    first, second = samples("llava", tmp_path)
    assert (first.prompt, first.target) == ("What?", "A cat.")
    assert second.prompt == "User: What?\nAssistant: A cat.\nUser: Which colour?" and second.group_id == first.group_id
    assert samples("llava_rlhf", tmp_path)[0].prompt == "User: What?\nAssistant: This.\nUser: Why?"


def converted(row: dict[str, Any], tmp: Path, recipe: str = "sharegpt", **options: Any) -> list[Sample]:
    """One row of a user's own, built and read back, with images 1.jpg to 3.jpg."""
    recipe_rows.save(tmp, "1.jpg", "2.jpg", "3.jpg")
    recipe_rows.lines(tmp / "train.jsonl", [row])
    settings = Settings(overwrite=True)
    build(get_recipe(recipe), tmp / "train.jsonl", tmp / "out", settings, get_recipe(recipe).chosen(**options))
    return load_samples(tmp / "out" / "train.jsonl")


def said_by(*texts: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


def test_an_answer_is_asked_with_the_images_that_were_shown_before_it(tmp_path: Path) -> None:
    """LLaMA-Factory's rows: each `<image>` is the place of one image, also in a later turn."""
    turns = said_by("<image>What?", "A cat.", "And <image>, or <image>?", "A dog.")
    first, second = converted({"messages": turns, "images": ["1.jpg", "2.jpg", "3.jpg"]}, tmp_path)
    assert first.prompt == "What?" and [Path(str(i)).name for i in first.images] == ["1.jpg"]
    assert second.prompt == "User: (image 1) What?\nAssistant: A cat.\nUser: And (image 2), or (image 3)?"
    assert [Path(str(i)).name for i in second.images] == ["1.jpg", "2.jpg", "3.jpg"]
    parts = [{"type": "text", "text": "Alike? "}, *[{"type": "image", "text": None}] * 2]
    (sample,) = converted({"messages": said_by(parts, "No."), "images": ["1.jpg", "2.jpg"]}, tmp_path)
    assert sample.prompt == "Alike? (image 1)(image 2)" and len(sample.images) == 2
    (sample,) = converted({"messages": said_by("<image><image>Alike?", "No."), "images": ["1.jpg", "2.jpg"]}, tmp_path)
    assert sample.prompt == "Alike?" and len(sample.images) == 2
    every = converted({"messages": said_by("a?", "b", "c?", "d"), "images": ["1.jpg", "2.jpg"]}, tmp_path)
    assert [len(sample.images) for sample in every] == [2, 2]  # without places they belong to the first question


def test_images_inside_the_parts_of_messages_are_read(tmp_path: Path) -> None:
    """OpenAI's and Qwen's contents, without a column of images; one with a column takes that."""
    recipe_rows.save(tmp_path, "1.jpg")
    inline = "data:image/jpeg;base64," + base64.b64encode((tmp_path / "1.jpg").read_bytes()).decode()
    parts = [
        {"type": "image_url", "text": None, "image_url": {"url": inline}}, {"type": "text", "text": "Alike?"},
        {"type": "image", "image_url": None, "image": "2.jpg"}, {"type": "input_image", "image_url": "file://3.jpg"},
    ]  # fmt: skip
    (sample,) = converted({"messages": said_by(parts, "No.")}, tmp_path)
    names = [Path(str(image)) for image in sample.images]
    assert names[0].read_bytes() == (tmp_path / "1.jpg").read_bytes()
    assert [name.name for name in names[1:]] == ["2.jpg", "3.jpg"]
    assert sample.prompt == "(image 1) Alike?(image 2)(image 3)"
    (sample,) = converted({"messages": said_by(parts, "No."), "images": ["1.jpg", "2.jpg", "1.jpg"]}, tmp_path)
    assert [Path(str(image)).name for image in sample.images] == ["1.jpg", "2.jpg", "1.jpg"]
    rejected = said_by([{"type": "image", "path": "2.jpg"}, *parts[1:]], "Yes.")
    with pytest.raises(InputError, match="differ in more than the last answer"):
        converted({"messages": said_by(parts, "No."), "rejected_messages": rejected}, tmp_path)
    with pytest.raises(InputError, match=r"no usable row in it; left out: .*a part of type 'video'"):
        converted({"messages": said_by([*parts, {"type": "video", "video": "a.mp4"}], "No.")}, tmp_path)


def test_two_answers_are_a_preference(tmp_path: Path) -> None:
    """ms-swift's two ways to write a rejected answer, and LLaMA-Factory's."""
    question, images = "<image>What?", {"images": ["1.jpg"]}
    ranked = {name: {"from": "gpt", "value": text} for name, text in (("chosen", "A cat."), ("rejected", "A dog."))}
    whole = said_by(question, "A cat.")
    for row in (
        {"messages": whole, "rejected_response": "A dog."},
        {"messages": whole, "rejected_messages": said_by(question, "A dog."), "rejected_images": ["1.jpg"]},
        {"conversations": [{"from": "human", "value": question}], **ranked},
    ):
        (sample,) = converted(row | images, tmp_path)
        assert sample.task == "response_preference" and sample.prompt == "What?" and sample.target is None
        assert [sample.responses[sample.meta["order"].index(k)] for k in (0, 1)] == ["A cat.", "A dog."]
        assert p_source(sample) == 1.0 and len(sample.images) == 1


def test_what_changes_an_answers_meaning_is_counted(tmp_path: Path) -> None:
    for more, reason in (
        ({"label": False}, "labelled as a bad one"), ({"kto_tag": False}, "labelled as a bad one"),
        ({"videos": ["a.mp4"]}, "it has videos"), ({"audios": ["a.wav"]}, "it has audios"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"no usable row in it; left out: .*{reason}"):
            converted({"messages": said_by("<image>What?", "A cat."), "images": ["1.jpg"], **more}, tmp_path)
    assert len(converted({"messages": said_by("x?", "y"), "images": ["1.jpg"], "label": True}, tmp_path)) == 1


def test_formulas_are_compared_as_formulas(tmp_path: Path) -> None:
    """EasyR1's answers, and those of other sets that state no kind."""
    root, three, words = samples("easyr1", tmp_path)
    assert root.prompt == "Find $x$." and [s.gold["kind"] for s in (root, three, words)] == ["math", "math", "text"]
    turn = "<think>x</think><answer>\\boxed{%s}</answer>"
    assert (
        score("accuracy", turn % "\\sqrt{884}", root)["total"] == 1
        and score("accuracy", turn % "3.0", three)["total"] == 1
    )
    assert score("accuracy", turn % "2", root)["total"] == 0
    (sample,) = converted({"messages": said_by("x?", "\\frac{1}{2}"), "images": ["1.jpg"]}, tmp_path)
    assert sample.gold == {"answer": "\\frac{1}{2}", "kind": "math"}
    row = {"image": "1.jpg", "q": "<image>Find x", "a": "$\\frac{1}{2}$", "n": 7}
    for text, answer, kind in (("a", row["a"], "math"), ("n", "7", "text"), ("n}\nkind: math #", "7", "math")):
        (tmp_path / f"{kind}.yaml").write_text(f"task: qa\nprompt: q\nimages: image\ngold: {{answer: {text}}}\n")
        (sample,) = converted(row, tmp_path, "mapped", mapping=str(tmp_path / f"{kind}.yaml"))
        assert sample.gold == {"answer": answer, "kind": kind} and sample.prompt == "Find x"
        (tmp_path / f"{kind}.yaml").unlink()


def test_spans_and_steps(tmp_path: Path) -> None:
    (sample,) = samples("m_haldetect", tmp_path)
    assert sample.responses == ("A cat sits.", "A dog runs.") and sample.gold == {"steps": [1, 0]}


def test_a_step_is_right_by_the_value_of_what_follows_it(tmp_path: Path) -> None:
    one, two = samples("vilreward", tmp_path)
    assert one.responses == ("One and two.", "That is four.") and one.gold == {"steps": [1, 0]}
    assert two.gold == {"steps": [1]} and one.group_id != "" and one.meta["step_values"] == [0.75, 0]
    (sample,) = samples("vl_prm300k", tmp_path)
    assert sample.gold == {"steps": [1, 0]} and sample.meta["rollout_ground_truth_answer"] == "6"
    with pytest.raises(InputError, match="no column 'trace'"):
        samples("vilreward", tmp_path, steps="trace")


def test_boxes_are_corners_in_original_pixels(tmp_path: Path) -> None:
    (sample,) = samples("coco", tmp_path)
    assert sample.gold["boxes"] == [{"bbox_2d": [1, 2, 11, 7], "label": "toothbrush"}]
    for sample in samples("refcoco", tmp_path) + samples("refcoco", tmp_path, "eval_val.json"):
        assert sample.prompt == "the left man" and sample.gold["boxes"][0]["bbox_2d"] == [1, 2, 9, 9]
    found, empty = samples("ovd", tmp_path)
    assert found.gold["boxes"][0]["label"] == "cat" and empty.gold["boxes"] == [] and found.prompt == "cat, dog"
    found, empty = samples("vision_r1", tmp_path)
    assert found.prompt == empty.prompt == "cat, dog" and empty.gold["boxes"] == []


def test_a_video_is_its_folder_of_frames(tmp_path: Path) -> None:
    for name in ("videogen_rb", "rapidata_video", "mjbench_video"):
        assert all(Path(str(video)).is_dir() for s in samples(name, tmp_path) for video in s.videos)


# --- broken rows ---

CLIMB = "../../etc/passwd"
Broken = Callable[[dict[str, Any]], dict[str, Any]]


def put(**values: Any) -> Broken:
    return lambda row: {**row, **values}


def said(text: Any) -> Broken:
    return lambda row: {**row, "conversations": [row["conversations"][0], {"from": "gpt", "value": text}]}


ONE = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]
"""A conversation of one question."""

BROKEN: dict[str, list[tuple[Broken, str]]] = {
    "hpdv2": [
        (put(prompt=" "), "empty prompt"),
        (put(file_path=["1.jpg"] * 3), "file_path holds 3 where 2 are due"),
        (put(human_preference=[0, 0]), "prefers nothing"),
        (put(file_path=["1.jpg", CLIMB]), "leaves the data folder"),
    ],
    "hpdv3": [
        (put(choice_dist=[1, 2, 3]), "choice_dist holds 3"),
        (put(confidence=9), "confidence is 9"),
        (put(path1=None), "empty path1"),
        (put(path2="https://x.org/1.jpg"), "the image is an address"),
    ],
    "imagereward": [
        (lambda row: {**row, "rows": row["rows"][:1]}, "1 image where 2"),
        (lambda row: {**row, "rows": [{**r, "rank": "x"} for r in row["rows"]]}, "rank is 'x'"),
    ],
    "pickapic": [
        (put(label_0=0.7), "label_0 is 0.7"),
        (put(caption=""), "empty caption"),
        (put(num_example_per_prompt=float("nan")), "empty num_example|not valid JSON"),
        (put(jpg_1=None), "empty jpg_1"),
    ],
    "rapidata": [(put(votes_image1=-1), "votes_image1 is -1"), (put(image1=CLIMB), "leaves the data folder")],
    "rapidata_weighted": [(put(weighted_results_image1_preference="x"), "is 'x'"), (put(prompt=""), "empty prompt")],
    "rapidata_video": [(put(file_name1="gone.mp4"), "no folder of frames"), (put(file_name2="../../x"), "leaves")],
    "rapidata_rich": [
        (put(alignment_score=9), "outside its scale 1 to 5"),
        (put(word_scores="[cut"), "word_scores is no JSON"),
        (put(word_scores='[["a"]]'), "word_scores holds 1"),
        (put(image=CLIMB), "leaves"),
    ],
    "rapidata_rich_video": [
        (put(likert_score_alignment="x"), "likert_score_alignment is 'x'"),
        (put(filename="../../x"), "leaves"),
        (put(filename="gone.mp4"), "no folder of frames"),
    ],
    "unifiedreward": [
        (said("I like both."), "no verdict and no score"),
        (put(images=["a.jpg"]), "images holds 1 where 2"),
        (put(conversations=[]), "conversations holds 0"),
        (put(images=["a.jpg", CLIMB]), "leaves"),
    ],
    "imagegen_cot": [
        (said("<answer>Image 1 is better</answer>"), "no <think>"),
        (said("Final Score: 3"), "compares nothing"),
    ],
    "videogen_rb": [(put(Overall="C"), "Overall is 'C'"), (put(path_A="gone.mp4"), "no folder of frames")],
    "mjbench_video": [(put(overall_preference=2), "the preference is 2"), (put(caption=None), "empty caption")],
    "editreward": [(put(path_src=None), "empty path_src"), (put(choice_dist=[0, 0]), "no vote")],
    "editreward_bench": [
        (put(human_vote={"ranking": "A>B"}), "does not rank"),
        (put(paths_generated=["0.png"]), "2 or more"),
    ],
    "rlaif_v": [
        (put(chosen="a dog"), "are the same"),
        (put(rejected=""), "empty rejected"),
        (put(image=CLIMB), "leaves"),
    ],
    "rlhf_v": [
        (put(text="{cut"), "text is no JSON"),
        (put(text="{}"), "text.question is None"),
        (put(image=None), "empty image"),
    ],
    "vlfeedback": [
        (put(completions=3), "completions is 3"),
        (put(prompt=""), "empty prompt"),
        (put(img_path=CLIMB), "leaves"),
    ],
    "llava_rlhf": [(put(preference=0), "preference is 0"), (put(output_1={"from": "x"}), "output_1 is None")],
    "mm_rlhf": [(put(chosen=None), "empty chosen"), (put(image=["short/i.jpg", CLIMB]), "leaves")],
    "mm_rlhf_ranked": [
        (put(responses=[{"response": "a", "rank": 1}]), "responses holds 1 where 2 or more"),
        (put(responses=[{"text": "a", "rank": 1}] * 2), "without 'response'; there is text, rank"),
        (put(responses=[{"response": "a", "rank": 0}, {"response": "b", "rank": 2}]), "rank is 0"),
        (put(responses={"a": 1, "b": 2}), "responses is"),
    ],
    "vilreward": [
        (put(steps=[{"step": "a", "note": "b", "value": 1}]), "one text and one number are due"),
        (put(steps=["a", "b"], values=[1]), "values holds 1 where 2"),
        (put(steps=["a"]), "no column 'values'"),
        (put(steps=[{"step": "a", "value": float("inf")}]), "a step's value is inf|not valid JSON"),
    ],
    "vl_prm300k": [
        (put(steps_with_score=[{"step": "a", "score": 2}]), "steps_with_score.score is 2"),
        (put(image=CLIMB), "leaves"),
    ],
    "llava_critic": [(said("Both are fine."), "no preference"), (put(image=None), "empty image")],
    "r1_reward": [(put(answer="2"), "answer is '2'"), (put(message="[cut"), "message is no JSON")],
    "m_haldetect": [
        (put(annotations=[{"start": 0, "end": 999, "label": "ACCURATE"}]), "annotations.end is 999"),
        (put(annotations=[{"start": 0, "end": 2, "label": "SURE"}]), "label 'SURE'"),
        (put(image_id="x/../.."), "leaves"),
    ],
    "pixmo_cap": [(put(image_url="https://example.org/2.jpg"), "is not in"), (put(caption=""), "empty caption")],
    "vicrit": [
        (put(image="gone.jpg"), "no such image"),
        (put(caption=None), "empty caption"),
        (put(image=CLIMB), "leaves"),
    ],
    "vicrit_train": [
        (put(solution_target="a green car"), "is not in the caption"),
        (put(solution_target="a red car"), "equals gold.original|is not in the caption"),
    ],
    "refcoco": [
        (said([1, 2, 9]), "the box holds 3 where 4"),
        (said([9, 9, 1, 1]), "x1 < x2"),
        (said("none"), "the box is"),
    ],
    "ovd": [(said("<answer>[{]</answer>"), "no JSON"), (said('[{"bbox_2d": [1, 2]}]'), "holds no bbox_2d")],
    "vision_r1": [(put(num_instances=4), "num_instances is 4"), (put(solution='[["cat", [1]]]'), "solution holds 1")],
    "llava": [(put(conversations=[{"from": "gpt", "value": "x"}]), "do not take turns"), (put(image=CLIMB), "leaves")],
    "sharegpt": [
        (put(messages=[{"role": "narrator", "content": "x"}]), "a turn of 'narrator'"),
        (put(images=["x.jpg"]), "no such"),
        (put(images=["1.jpg", "1.jpg"]), "1 places of images for 2 images"),
        (put(rejected_response="A cat."), "chosen and rejected are the same"),
        (put(rejected_response=["A dog."]), "rejected_response is"),
        (put(rejected_messages=[{"role": "assistant", "content": "A dog."}]), "differ in more than the last answer"),
        (put(chosen={"from": "gpt", "value": "A"}, rejected={"from": "gpt", "value": "B"}), "do not take turns"),
        (
            put(messages=[*ONE, {"role": "user", "content": "?"}, {"role": "assistant", "content": "<image>"}]),
            "an answer",
        ),
        (
            put(objects={"bbox": [[1, 2, 3, 4]]}, messages=[*ONE[:1], {"role": "assistant", "content": "<bbox>"}]),
            "boxes",
        ),
    ],
    "easyr1": [(put(answer=None), "empty answer"), (put(problem="<image><image>x"), "2 places of images for 1 images")],
    "vision_r1_cold": [(said("2"), "holds no <think>"), (said(""), "empty conversations")],
}


def test_every_family_has_broken_rows() -> None:
    assert set(BROKEN) == set(recipe_rows.FIXTURES) - {"coco"}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rows_are_named_and_counted(name: str, tmp_path: Path) -> None:
    """The first row of the fixture, whole, then broken in each way; beside it a picture that is cut off."""
    folder, recipe = tmp_path / name, get_recipe(name)
    folder.mkdir()
    recipe_rows.FIXTURES[name](folder)
    whole = first_row(name, folder)
    cut = cut_images(whole, folder)
    made = [whole, *(broken(whole) for broken, _ in BROKEN[name]), *cut]
    flat = [r for row in made for r in row.get("rows", [row])]
    if "rows" in whole:  # rows of one prompt become one again
        flat = [{**r, "prompt_id": f"p{k}"} for k, row in enumerate(made) for r in row["rows"]]
    file = folder / "broken.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in flat))
    out = tmp_path / "out"
    options = options_of(name, folder)
    with pytest.raises(InputError, match=re.escape(f"{file}:")):
        build(recipe, file, out, Settings(split=recipe.splits[0], decode=True), options)
    built: Built = build(recipe, file, out, Settings(split=recipe.splits[0], skip_bad=True, decode=True), options)
    errors = (out / f"{recipe.splits[0]}.skipped.txt").read_text().splitlines()
    assert built.counts.bad == len(errors) == len(BROKEN[name]) + len(cut)
    for (_, message), error in zip(BROKEN[name], errors, strict=False):
        assert re.match(re.escape(f"{file}:") + r"\d+: .*" + f"({message})", error), error
    assert all("broken image" in error for error in errors[len(BROKEN[name]) :])


def first_row(name: str, folder: Path) -> dict[str, Any]:
    """The first row as a recipe gets it, its stored pictures as paths."""
    from reasoner_rm.data.sources import Source

    recipe = get_recipe(name)
    _, (_, values) = next(iter(Source(recipe, str(folder), recipe.splits[0])))
    assert not isinstance(values, InputError)
    return json.loads(json.dumps(values, default=str))


def cut_images(row: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The row with one of its pictures cut off; none where its pictures are stored elsewhere than in a column."""
    (folder / "cut.jpg").write_bytes(recipe_rows.encoded(0)[:300])
    for column in ("path1", "jpg_0", "image1", "image", "img_path", "image_path"):
        if isinstance(row.get(column), str) and not row[column].startswith("http") and "prompt_id" not in row:
            return [{**row, column: "cut.jpg"}]
    return []


def test_coco_rows_outside_their_image_are_refused(tmp_path: Path) -> None:
    recipe_rows.coco(tmp_path)
    file = tmp_path / "instances_train2017.json"
    whole = json.loads(file.read_text())
    whole["annotations"][0]["bbox"] = [20, 0, 50, 5]
    file.write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r":1: the bbox .* lies outside 24x24"):
        build(get_recipe("coco"), tmp_path, tmp_path / "out")
    file.write_text("{}")
    with pytest.raises(InputError, match="no COCO instances"):
        build(get_recipe("coco"), tmp_path, tmp_path / "out")


def test_pictures_in_parquet_stay_there(tmp_path: Path) -> None:
    recipe_rows.rlaif_v(tmp_path)
    first, second = (row for _, row in rows(next(tmp_path.rglob("*.parquet"))))
    assert isinstance(first["image"], Stored) and first["image"].endswith("#0/image")
    assert second["image"] == "x.jpg"


def test_the_order_is_drawn_by_seed(tmp_path: Path) -> None:
    recipe_rows.save(tmp_path, "w.jpg", "l.jpg")
    row = {"path1": "w.jpg", "path2": "l.jpg", "choice_dist": None, "confidence": None}
    recipe_rows.array(tmp_path / "train.json", [{**row, "prompt": str(i)} for i in range(400)])

    def firsts(seed: int) -> list[float]:
        build(get_recipe("hpdv3"), tmp_path, tmp_path / f"{seed}", Settings(seed=seed, overwrite=True))
        return [s.gold["p_first"] for s in load_samples(tmp_path / f"{seed}" / "train.jsonl")]

    assert firsts(0) == firsts(0) != firsts(1)
    assert 150 < sum(firsts(0)) < 250
