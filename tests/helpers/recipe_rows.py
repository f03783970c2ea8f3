"""Small datasets in the exact columns and types of the published ones, with drawn images. Run it to look at them:

python tests/helpers/recipe_rows.py OUT
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How the hub stores an image."""


def drawn(i: int, side: int = 24) -> Image.Image:
    """A picture that no other number has."""
    return (
        Image.linear_gradient("L").resize((side, side)).rotate(37 * i).convert("RGB").point(lambda v: (v + 9 * i) % 256)
    )


def encoded(i: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    drawn(i).save(buffer, kind)
    return buffer.getvalue()


def picture(i: int) -> dict[str, Any]:
    return {"bytes": encoded(i), "path": f"{i}.jpg"}


def save(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(i, "PNG" if name.endswith("png") else "JPEG"))


def frames(folder: Path, *names: str) -> None:
    for name in names:
        save(folder / name, "0.jpg", "1.jpg", "2.jpg")


def array(file: Path, rows: list[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows))


def lines(file: Path, rows: list[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(file: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    arrays = {c: pa.array([row.get(c) for row in rows], types.get(c)) for c in columns}
    pq.write_table(pa.table(arrays), file)


def hpdv2(d: Path) -> None:
    save(d / "train", "1.jpg", "2.jpg")
    save(d / "test", "a.jpg", "b.jpg", "c.jpg")
    array(
        d / "train.json",
        [
            {"prompt": "a red kite", "file_path": ["1.jpg", "2.jpg"], "human_preference": [1, 0]},
            {"prompt": "a blue kite", "file_path": ["1.jpg", "2.jpg"], "human_preference": [0, 1]},
        ],
    )
    users = [{"rank": [1, 2, 2], "user_hash": "x"}]
    array(
        d / "test.json",
        [{"prompt": "a cat", "image_path": ["a.jpg", "b.jpg", "c.jpg"], "rank": [1, 2, 2], "raw_annotations": users}],
    )


def hpdv3(d: Path) -> None:
    save(d, "images/w.jpg", "images/l.jpg")
    row = {"prompt": "a fox", "path1": "images/w.jpg", "path2": "images/l.jpg", "model1": "sd", "model2": None}
    array(
        d / "train.json",
        [
            {**row, "choice_dist": [9, 1], "confidence": 0.97},
            {**row, "choice_dist": None, "confidence": "null"},
            {**row, "choice_dist": [3, 2], "confidence": 0.3},
        ],
    )


def imagereward(d: Path) -> None:
    def rated(prompt: str, rank: int, i: int) -> dict[str, Any]:
        return {
            "image": picture(i),
            "prompt_id": prompt,
            "prompt": f"prompt of {prompt}",
            "image_path": f"{i}.webp",
            "rank": rank,
            "overall_rating": 5,
            "image_text_alignment_rating": 5,
            "fidelity_rating": 5,
            "classification": "People",
            "image_amount_in_total": 4,
        }

    rows = [rated("p1", r, i) for i, r in enumerate((1, 2, 2, 4))] + [rated("p2", r, i) for i, r in enumerate((2, 1))]
    table(d / "data" / "train-00000-of-00001.parquet", rows, image=PICTURE)
    save(d, "part/a.webp", "part/b.webp", "part/c.webp", "part/d.webp")
    generations = [f"part/{c}.webp" for c in "abcd"]
    array(
        d / "test.json", [{"id": "005658-0040", "prompt": "a hut", "generations": generations, "ranking": [1, 3, 3, 5]}]
    )


def pickapic(d: Path) -> None:
    def picked(i: int, label: float, has: bool = True) -> dict[str, Any]:
        return {
            "are_different": label != 0.5,
            "best_image_uid": "u",
            "caption": f"caption {i}",
            "has_label": has,
            "image_0_uid": "u",
            "image_1_uid": "v",
            "image_0_url": "https://x/u",
            "image_1_url": "https://x/v",
            "jpg_0": encoded(i),
            "jpg_1": encoded(i + 9),
            "label_0": label,
            "label_1": 1 - label,
            "model_0": "a",
            "model_1": "b",
            "ranking_id": i,
            "user_id": 3,
            "num_example_per_prompt": 4,
            "__index_level_0__": i,
        }

    rows = [picked(0, 1.0), picked(1, 0.0), picked(2, 0.5), picked(3, 1.0, has=False)]
    table(d / "data" / "train-00000-of-00001.parquet", rows, jpg_0=pa.binary(), jpg_1=pa.binary())


def rapidata(d: Path) -> None:
    vote = {"votedFor": "flux/155_0.jpg", "userDetails": {"country": "IN", "language": "en", "userScore": 0.78}}
    row = {
        "prompt": "a tree",
        "image1": picture(0),
        "image2": picture(1),
        "model1": "flux",
        "model2": "mj",
        "image1_path": "flux/155_0.jpg",
        "image2_path": "mj/155_0.jpg",
    }
    rows = [
        {**row, "votes_image1": a, "votes_image2": b, "detailed_results": json.dumps({"votes": v, "metadata": {}})}
        for a, b, v in ((20, 6, [vote]), (13, 13, [{"votedFor": "mj/155_0.jpg"}]), (0, 0, []))
    ]
    table(d / "data" / "train_0001-00000-of-00001.parquet", rows, image1=PICTURE, image2=PICTURE)


def rapidata_weighted(d: Path) -> None:
    row = {"prompt": "a tree", "image1": picture(0), "image2": picture(1), "model1": "imagen4", "model2": "mj"}
    values = ((0.7, 0.3), (float("nan"), float("nan")), (0.0, 1.0))
    rows = [
        {
            **row,
            "weighted_results_image1_preference": a,
            "weighted_results_image2_preference": b,
            "detailed_results_preference": "[]",
        }
        for a, b in values
    ]
    table(
        d / "data" / "train-00000-of-00001.parquet",
        rows,
        image1=PICTURE,
        image2=PICTURE,
        weighted_results_image1_preference=pa.float32(),
        weighted_results_image2_preference=pa.float32(),
    )


def rapidata_video(d: Path) -> None:
    frames(d, "Videos/a", "Videos/b")
    row = {"prompt": "waves", "file_name1": "a.mp4", "file_name2": "b.mp4"}
    lines(d / "train.jsonl", [{**row, "weighted_results1_Preference": 0.8, "weighted_results2_Preference": 0.2}])


def rapidata_rich(d: Path) -> None:
    heat = [[0.5] * 8 for _ in range(8)]
    row = {
        "image": picture(0),
        "prompt": "two red kites",
        "word_scores": json.dumps([["two", 1.25], ["red", 0.0], ["[No_mistakes]", 3.5]]),
        "alignment_score_norm": 0.8,
        "coherence_score_norm": 0.5,
        "style_score_norm": 0.25,
        "alignment_heatmap": heat,
        "coherence_heatmap": None,
        "alignment_score": 4.2,
        "coherence_score": 3.0,
        "style_score": 2.0,
    }
    rows = [row, {**row, "image": picture(1), "coherence_score": None, "coherence_heatmap": heat}]
    scores = {name: pa.float32() for name in row if "_score" in name and name != "word_scores"}
    map_type = pa.list_(pa.list_(pa.float16()))
    maps = {"alignment_heatmap": map_type, "coherence_heatmap": map_type}
    table(d / "data" / "train-00000-of-00001.parquet", rows, image=PICTURE, **scores, **maps)


def rapidata_rich_video(d: Path) -> None:
    frames(d, "Videos/0001_Sora")
    row = {
        "prompt": "a wave breaks",
        "video": "<video src='…/0001_Sora.mp4'>",
        "video_annotated": "…",
        "likert_score_normalized_alignment": 0.75,
        "weighted_ration_normal": 0.5,
        "confidence_normal": 0.9,
        "aligned_words_results": [{"selectedAmount": 4, "word": "breaks", "wordIndex": 2}],
        "likert_score_alignment": 4.0,
        "likert_score_physics": 2.5,
        "likert_score_style": 3.5,
        "filename": "0001_Sora.mp4",
        "category": "water",
    }
    table(d / "data" / "train-00000-of-00001.parquet", [row, {**row, "aligned_words_results": []}])


PAIR = "<image>\n<image>\nYou are given a text caption and two generated images.\nText Caption: [a red barn]\n"


def talk(question: str, answer: Any, *images: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns, "images": list(images)}


def unifiedreward(d: Path) -> None:
    save(d, "a.jpg", "b.jpg")
    frames(d, "v1", "v2")
    point = "<image>\nRate the image.\nText Caption: [a red barn]\n"
    words = 'Word-wise Scores: [["barn", 0.1], ["[No_mistakes]", 0.9]]\n'
    acs = words + "Alignment Score (1-5): 4.5\nCoherence Score (1-5): 3\n"
    quoted = "<image>\nQuestion: what is it?\nAnswer 1: a barn\nAnswer 2: a boat\n"
    array(
        d / "train_data.json",
        [
            talk(PAIR, "Image 1 is better than Image 2.", "a.jpg", "b.jpg"),
            talk(PAIR, "Both images are equally good.", "a.jpg", "b.jpg"),
            talk(
                PAIR,
                "<think>Alignment: 8/10 against 5/10.</think>\n<answer>Image 2 is better</answer>",
                "a.jpg",
                "b.jpg",
            ),
            talk(PAIR, "Alignment: 0.7, 0.3\nCoherence: 0.5, 0.5\nStyle: 0.9, 0.1", "a.jpg", "b.jpg"),
            talk(point, "Final Score: 4", "a.jpg"),
            talk(point, "barn (object): 9\nred (attribute): 3\nFinal Score: 7", "a.jpg"),
            talk(point, "Final Score: 86", "a.jpg"),
            talk(point, acs + "Style Score (1-5): 2.5", "a.jpg"),
            talk("Text Caption: [waves]\n", "Video 2 is better than Video 1.", "v1", "v2"),
            talk("<video>\nText Caption: [waves]\n", "Final Score: 2", "v1"),
            talk("Text Caption: [waves]\n", "Final Score: 3", "v2/0.jpg", "v2/1.jpg", "v2/2.jpg"),
            talk(quoted, "Answer 1 is better than Answer 2.", "a.jpg"),
            {"problem": PAIR, "solution": "Image 1 is better", "images": ["a.jpg", "b.jpg"]},
        ],
    )


def imagegen_cot(d: Path) -> None:
    save(d, "a.jpg", "b.jpg")
    answer = "<think>\nImage 1 shows a barn, Image 2 a boat.\n</think>\n<answer>Image {} is better</answer>"
    array(d / "train_data.json", [talk(PAIR, answer.format(k), "a.jpg", "b.jpg") for k in (1, 2)])


def videogen_rb(d: Path) -> None:
    frames(d, "videos/a", "videos/b")
    head = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall,fps_A,num_frames_A,fps_B,num_frames_B\n"
    rows = [f"videos/a.mp4,videos/b.mp4,m,n,waves {v},A,B,same,{v},8,16,8,16\n" for v in ("A", "B", "same")]
    (d / "videogen-rewardbench.csv").write_text(head + "".join(rows))


def mjbench_video(d: Path) -> None:
    frames(d, "v/0", "v/1")
    row = {
        "caption": "a race",
        "video_0_path": "v/0.mp4",
        "video_1_path": "v/1.mp4",
        "discard": False,
        "category_preference": {"Alignment": "video_1", "Safety": "Same"},
    }
    said = ("video_0", "video_1", "Same")
    array(
        d / "train.json",
        [{**row, "overall_preference": v} for v in said] + [{**row, "overall_preference": "video_0", "discard": True}],
    )


def editreward(d: Path) -> None:
    save(d, "s.png", "w.png", "l.png")
    row = {
        "prompt": "make it blue",
        "path_src": "s.png",
        "path1": "w.png",
        "path2": "l.png",
        "model1": "m",
        "model2": "n",
        "model1_dim1_score": 3.0,
        "model1_overall_score": 3.5,
    }
    array(
        d / "train.json",
        [{**row, "choice_dist": [2, 1], "confidence": 0.8}, {**row, "choice_dist": None, "confidence": None}],
    )


def editreward_bench(d: Path) -> None:
    save(d, "s.png", "0.png", "1.png", "2.png")
    row = {"prompt": "make it blue", "path_src": "s.png"}
    array(
        d / "test.json",
        [
            {**row, "paths_generated": ["0.png", "1.png", "2.png"], "human_vote": {"ranking": "A>B>C"}},
            {**row, "paths_generated": ["0.png", "1.png"], "human_vote": {"ranking": "A=B=Good"}},
        ],
    )


def rlaif_v(d: Path) -> None:
    row = {
        "ds_name": "RLAIF-V",
        "image": picture(0),
        "question": "What is it?",
        "chosen": "a cat",
        "rejected": "a dog",
        "origin_dataset": "COCO",
        "origin_split": "{}",
        "idx": 0,
        "image_path": "0.jpg",
    }
    table(
        d / "data" / "train-00000.parquet",
        [row, {**row, "idx": 1, "image": {"bytes": None, "path": "x.jpg"}}],
        image=PICTURE,
    )
    save(d, "x.jpg")


def rlhf_v(d: Path) -> None:
    text = json.dumps({"question": "What is it?", "chosen": "a cat", "rejected": "a dog"})
    row = {
        "ds_name": "RLHF-V",
        "image": picture(0),
        "text": text,
        "origin_dataset": "COCO",
        "origin_split": "{}",
        "idx": 0,
        "image_path": "0.jpg",
    }
    table(d / "RLHF-V.parquet", [row], image=PICTURE)


def vlfeedback(d: Path) -> None:
    def answer(text: str, *ratings: str) -> dict[str, Any]:
        aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
        notes = {a: {"Rating": r, "Rationale": "…"} for a, r in zip(aspects, ratings, strict=True)}
        return {"annotations": notes, "model": "m", "response": text}

    save(d, "i.jpg")
    answers = [
        answer("one", "5", "5", "5"),
        answer("two", "3", "4", "5"),
        answer("three", "N/A", "5", "5"),
        answer("four", "3", "4", "5"),
    ]
    columns = {key: [a[key] for a in answers] for key in answers[0]}
    lines(d / "train.jsonl", [{"id": "1", "prompt": "?", "models": ["m"], "completions": columns, "img_path": "i.jpg"}])


def llava_rlhf(d: Path) -> None:
    save(d, "000000000001.jpg")
    asked = [
        {"from": "human", "value": "<image>\nWhat?"},
        {"from": "gpt", "value": "This."},
        {"from": "human", "value": "Why?"},
    ]
    row = {
        "id": "1",
        "image": "000000000001.jpg",
        "output_1": {"from": "llava", "value": "so"},
        "hallucination": True,
        "output_2": {"from": "llava", "value": "no"},
    }
    array(
        d / "llava_7b_v1_preference.json",
        [{**row, "conversations": asked, "preference": 1}, {**row, "conversations": asked[:1], "preference": 2}],
    )


def mm_rlhf(d: Path) -> None:
    save(d, "short/i.jpg")
    frames(d, "video/clip")
    row = {"prompt": "?", "chosen": "yes", "rejected": "no", "chosen_reason": "right", "rejected_reason": "wrong"}
    lines(d / "dpo_pairs.jsonl", [{**row, "image": "short/i.jpg"}, {**row, "video": "video/clip", "id": 7}])


def mm_rlhf_ranked(d: Path) -> None:
    save(d, "short/i.jpg")
    frames(d, "video/clip")
    answers = [{"response": text, "rank": rank, "score": 5 - rank, "reason": "…"} for text, rank in
               (("a cat", 1), ("a dog", 3), ("a pet", 2), ("an animal", 2))]  # fmt: skip
    lines(
        d / "data.jsonl",
        [
            {"id": 1, "prompt": "What is it?", "image": "short/i.jpg", "responses": answers},
            {"id": 2, "prompt": "What happens?", "video": "video/clip", "responses": answers[:2]},
        ],
    )


def vilreward(d: Path) -> None:
    save(d, "i.jpg")
    row = {"question": "What is 1 + 2?", "image": "i.jpg"}
    steps = [{"step": "One and two.", "value": 0.75}, {"step": "That is four.", "value": 0.0}]
    lines(d / "train.jsonl", [{**row, "steps": steps}, {**row, "steps": ["It is three."], "values": [1.0]}])


def vl_prm300k(d: Path) -> None:
    save(d, "images/RAVEN/8135.png")
    steps = [
        {"step": "A 3x3 grid.", "score": 0.0625, "num_mc_correct": 1, "num_mc_total": 16},
        {"step": "It shows a hexagon.", "score": 0.0, "num_mc_correct": 0, "num_mc_total": 16},
    ]
    row = {
        "id": "698d978c",
        "conversations": [{"role": "system", "content": [{"type": "text", "text": "…"}]}],
        "first_incorrect_step": "['Visual Elements', 2]",
        "steps_with_score": steps,
        "rollout_ground_truth_answer": "6",
        "consensus_filtering_algo_label": "…",
        "verifier_identified_first_incorrect_step_solution": None,
        "image": "images/RAVEN/8135.png",
        "image_qwen_smart_resize": "images/RAVEN/8135_qwen_smart_resize.png",
        "source": "RAVEN",
        "question_type": "abstract_visual_reasoning",
        "question": "Which tile is missing?",
    }
    table(d / "train" / "VL_PRM300K_V2.parquet", [row])


def llava_critic(d: Path) -> None:
    pair = (
        "<image>\nQuestion: what is it?\nThe first response: [a cat]\nThe second response: [a dog]\n"
        "Answer 1: a cat\nAnswer 2: a dog\n"
    )
    turns = [
        talk(pair, "The image shows a dog, so the second response is better.")["conversations"],
        talk("<image>\nQuestion: what is it?\nResponse: a cat\n", "Score: 85")["conversations"],
    ]
    rows = [{"id": str(i), "source": "s", "image": picture(i), "conversations": t} for i, t in enumerate(turns)]
    table(d / "pairwise" / "train-00000-of-00001.parquet", rows, image=PICTURE)


def r1_reward(d: Path) -> None:
    save(d, "i.jpg")
    text = "Question: what is it?\nAnswer 1: a cat\nAnswer 2: a dog\n"
    message = [{"role": "user", "content": [{"type": "image", "image": "i.jpg"}, {"type": "text", "text": text}]}]
    rows = [
        {"message": json.dumps(message), "question": "what is it?", "answer": f"<answer>{k}</answer>"} for k in (1, 2)
    ]
    table(d / "train.parquet", rows)


def m_haldetect(d: Path) -> None:
    save(d, "COCO_val2014_000000000042.jpg")
    text = "A cat sits. A dog runs. This may be a park. Perhaps."
    marks = [
        {"start": a, "end": b, "text": text[a:b], "label": label}
        for a, b, label in ((0, 11, "ACCURATE"), (12, 23, "INACCURATE"), (24, 43, "ANALYSIS"), (44, 52, "UNSURE"))
    ]
    array(d / "train_raw.json", [{"question": "Describe it.", "response": text, "image_id": 42, "annotations": marks}])


CAPTION = 'A red car stands on the left of two wooden chairs. A sign says "OPEN".'


def pixmo_cap(d: Path) -> None:
    row = {"image_url": "https://example.org/1.jpg", "caption": CAPTION, "transcripts": ["uh, a red car"]}
    save(d, "copies/1.jpg")
    lines(d / "train.jsonl", [row])
    (d / "map.csv").write_text("address,path\nhttps://example.org/1.jpg,copies/1.jpg\n")


def vicrit(d: Path) -> None:
    save(d, "1.jpg")
    lines(d / "train.jsonl", [{"image": "1.jpg", "caption": CAPTION}, {"image": "1.jpg", "caption": "Fog."}])


def vicrit_train(d: Path) -> None:
    save(d, "1.jpg")
    lines(
        d / "train.jsonl",
        [
            {
                "image_path": "1.jpg",
                "problem": "…",
                "original_caption": "a red car",
                "changed_caption": "a blue car",
                "solution_original": "a red car",
                "solution_target": "a blue car",
            }
        ],
    )


def refcoco(d: Path) -> None:
    save(d, "1.jpg")
    asked = "<image>Please provide the bounding box coordinate of the region this sentence describes: the left man."
    lines(
        d / "train.jsonl",
        [
            {
                "id": i,
                "image": "1.jpg",
                "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": v}],
            }
            for i, v in enumerate(([1, 2, 9, 9], "[1, 2, 9, 9]"))
        ],
    )
    array(
        d / "eval_val.json",
        [{"image": "1.jpg", "problem": asked, "solution": [1, 2, 9, 9], "normal_caption": "the left man"}],
    )


def ovd(d: Path) -> None:
    save(d, "1.jpg")
    asked = "<image>Detect all objects of these categories: cat, dog."
    found = '<answer>```json\n[{"bbox_2d":[1,2,9,9],"label":"cat"}]\n```</answer>'
    lines(
        d / "train.jsonl",
        [
            {
                "id": i,
                "image": "1.jpg",
                "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": v}],
            }
            for i, v in enumerate((found, "<answer>None</answer>"))
        ],
    )


def coco(d: Path) -> None:
    save(d, "1.jpg", "2.jpg")
    box = {"image_id": 1, "area": 1.0, "segmentation": []}
    (d / "instances_train2017.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": 1, "file_name": "1.jpg", "width": 24, "height": 24},
                    {"id": 2, "file_name": "2.jpg", "width": 24, "height": 24},
                ],
                "annotations": [
                    {**box, "id": 5, "category_id": 90, "bbox": [1.0, 2.0, 10.0, 5.0], "iscrowd": 0},
                    {**box, "id": 6, "category_id": 1, "bbox": [0, 0, 20, 20], "iscrowd": 1},
                ],
                "categories": [
                    {"id": 1, "name": "person", "supercategory": "person"},
                    {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
                ],
            }
        )
    )


def vision_r1(d: Path) -> None:
    row = {
        "image": picture(0),
        "problem": "…",
        "solution": json.dumps([["cat", [1, 2, 9, 9]]]),
        "num_instances": 1,
        "target_id_maps": json.dumps({"background": 0, "cat": 1, "dog": 2}),
        "width": 24,
        "height": 24,
    }
    table(d / "train.parquet", [row, {**row, "solution": "[]", "num_instances": 0}], image=PICTURE)


def llava(d: Path) -> None:
    save(d, "1.jpg")
    first = talk("<image>\nWhat?", "A cat.")["conversations"]
    second = talk("Which colour?", "Black.")["conversations"]
    array(
        d / "train.json",
        [
            {"id": "1", "image": "1.jpg", "conversations": first + second, "data_source": "x"},
            {"id": "2", "conversations": first, "data_source": "x"},
        ],
    )


def sharegpt(d: Path) -> None:
    save(d, "1.jpg")
    turns = [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "<image>What?"},
        {"role": "assistant", "content": "A cat."},
    ]
    array(d / "train.json", [{"messages": turns, "images": ["1.jpg"]}])


def easyr1(d: Path) -> None:
    answers = ["2 \\sqrt { 221 }", "3", "a cat on a very old red mat"]
    rows = [{"images": [picture(i)], "problem": "<image>Find $x$.", "answer": a} for i, a in enumerate(answers)]
    schema = pa.schema([("images", pa.list_(PICTURE)), ("problem", pa.string()), ("answer", pa.string())])
    (d / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema), d / "data" / "train-00000-of-00001.parquet")


def vision_r1_cold(d: Path) -> None:
    save(d, "1.jpg")
    turns = talk("<image>How many?", "<think>One, two.</think><answer>2</answer>")["conversations"]
    array(d / "train.json", [{"image": "1.jpg", "conversations": turns}])


FIXTURES: dict[str, Callable[[Path], None]] = {
    f.__name__: f
    for f in (
        hpdv2,
        hpdv3,
        imagereward,
        pickapic,
        rapidata,
        rapidata_weighted,
        rapidata_video,
        rapidata_rich,
        rapidata_rich_video,
        unifiedreward,
        imagegen_cot,
        videogen_rb,
        mjbench_video,
        editreward,
        editreward_bench,
        rlaif_v,
        rlhf_v,
        vlfeedback,
        llava_rlhf,
        mm_rlhf,
        mm_rlhf_ranked,
        llava_critic,
        r1_reward,
        m_haldetect,
        vilreward,
        vl_prm300k,
        pixmo_cap,
        vicrit,
        vicrit_train,
        refcoco,
        ovd,
        coco,
        vision_r1,
        llava,
        sharegpt,
        vision_r1_cold,
        easyr1,
    )
}

if __name__ == "__main__":
    for name, make in FIXTURES.items():
        make(Path(sys.argv[1]) / name)
