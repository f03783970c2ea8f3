"""Benchmarks as they are published, a few rows each: the same columns and types, with drawn images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = ("red", "green", "blue", "orange", "purple", "teal", "grey", "pink")


def picture(i: int = 0, side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), COLOURS[i % len(COLOURS)]).save(out, "PNG")
    return out.getvalue()


def struct(i: int = 0) -> dict[str, Any]:
    """An image as the hub's `Image` feature stores it."""
    return {"bytes": picture(i), "path": f"{i}.png"}


def files(folder: Path, *names: str) -> None:
    """Image files."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(i))


def parquet(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)
    return folder


def as_json(folder: Path, name: str, value: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def json_lines(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


VLRB_IDS = (
    "RLAIF-V-1", "RLHF-V-2", "hallucination_pair-3", "mathverse_4", "mmmu_pro-5", "wildvision-battle_6", "VLFeedback-7",
    "RLAIF-V-1",
)  # fmt: skip


def vl_rewardbench_row(name: str, i: int, ranking: Sequence[int] = (0, 1)) -> dict[str, Any]:
    return {
        "id": name, "query": f"<image>\nWhat is shown in {i}?",
        "response": [f"A square, {i}.", f"A {'very ' * (i % 3)}red square, {i}."],
        "image": struct(i), "human_ranking": list(ranking), "models": ["m1", "m2"], "judge": "j", "rationale": "",
        "query_source": "q", "ground_truth": "",
    }  # fmt: skip


def vl_rewardbench(folder: Path) -> Path:
    """A duplicate id, and one row whose second answer is the better one."""
    rows = [vl_rewardbench_row(name, i, (1, 0) if i == 3 else (0, 1)) for i, name in enumerate(VLRB_IDS)]
    return parquet(folder, "test-00000-of-00001.parquet", rows)


def multimodal_rewardbench(folder: Path) -> Path:
    """Both sub-splits of safety and reasoning."""
    rows = []
    kinds = (
        ("general correctness-1", "general correctness"), ("pairs-2", "safety"), ("safe-3", "safety"),
        ("math-4", "reasoning"), ("Math_5", "reasoning"), ("code-6", "reasoning"), ("vqa-7", "VQA"),
    )  # fmt: skip
    for i, (name, category) in enumerate(kinds):
        rows.append({
            "ID": name, "Text": f"Question {i}?", "Image": f"images/src/{i}.png", "Output1": f"First {i}.",
            "Output2": f"The second {i}.", "Better": f"Output{1 + i % 2}", "Category": category,
        })  # fmt: skip
    files(folder / "data", *(row["Image"] for row in rows))
    return as_json(folder / "data", "all_data_release.json", rows).parent / "data"


def mm_rlhf_rewardbench(folder: Path) -> Path:
    """Two questions with several rows, one of them about a folder of frames."""
    rows = [
        {
            "id": f"q{i // 2}", "prompt": f"Question {i}?", "chosen": f"Good {i}.", "rejected": f"Not so good {i}.",
            "chosen_reason": "", "rejected_reason": "", **media,
        }
        for i, media in enumerate((
            {"image": "mcq/0.png"}, {"image": "mcq/1.png"}, {"image": "long/2.png"}, {"image": "safety/3.png"},
            {"video": "video/clip"}, {"image": "short/5.png"},
        ))
    ]  # fmt: skip
    files(folder, *(row["image"] for row in rows if "image" in row), "video/clip/0.png", "video/clip/1.png")
    return json_lines(folder, "mm_reward_bench.jsonl", rows)


def mj_bench(folder: Path) -> Path:
    rows = [
        {
            "caption": f"square {i}",
            "image0": struct(i),
            "image1": struct(i + 1),
            "label": i % 2,
            "info": ("object", "count")[i % 2],
        }
        for i in range(4)
    ]
    return parquet(folder, "alignment-00000-of-00001.parquet", rows)


def mj_bench_later(folder: Path) -> Path:
    """The hub's later layout: the label is always 0."""
    rows = [
        {
            "caption": f"square {i}", "image0": struct(i), "image1": struct(i + 1), "label": 0, "category": "quality",
            "subcategory": ("blur", "distortion")[i % 2], "model": "m",
        }
        for i in range(4)
    ]  # fmt: skip
    return parquet(folder, "quality-00000-of-00001.parquet", rows)


def mj_bench_bias(folder: Path) -> Path:
    rows = [
        {"image": struct(i), "occupation": ("pilot", "nurse")[i // 4], "demographic": f"group {i % 4}"}
        for i in range(8)
    ]
    return parquet(folder, "bias-00000-of-00001.parquet", rows)


def imagereward(folder: Path) -> Path:
    """Gaps, ties, and a prompt all of whose images are alike."""
    rankings = ([1, 2, 4], [1, 1, 3, 2], [2, 2], [3, 1])
    rows = [
        {
            "id": f"005658-{i:04}",
            "prompt": f"square {i}",
            "generations": [f"images/{i}-{k}.png" for k in range(len(r))],
            "ranking": r,
        }
        for i, r in enumerate(rankings)
    ]
    files(folder, *(name for row in rows for name in row["generations"]))
    return as_json(folder, "test.json", rows)


def hpdv2(folder: Path) -> Path:
    rows = [
        {
            "prompt": f"square {i}",
            "image_path": [f"{i}-{k}.png" for k in range(len(r))],
            "rank": r,
            "raw_annotations": [],
        }
        for i, r in enumerate(([0, 1, 2], [1, 0], [0, 0, 1]))
    ]
    files(folder / "test", *(name for row in rows for name in row["image_path"]))
    return as_json(folder, "test.json", rows)


def pickapic(folder: Path) -> Path:
    """Bare bytes, a tie, a row without a label."""
    rows = [
        {
            "are_different": True, "best_image_uid": "", "caption": f"square {i}", "has_label": i != 4,
            "image_0_uid": "a", "image_0_url": "u", "image_1_uid": "b", "image_1_url": "u", "jpg_0": picture(i),
            "jpg_1": picture(i + 1), "label_0": label, "label_1": 1 - label, "model_0": "m", "model_1": "n",
            "ranking_id": i, "user_id": 1, "num_example_per_prompt": 1, "__index_level_0__": i,
        }
        for i, label in enumerate((1.0, 0.0, 0.5, 1.0, 1.0))
    ]  # fmt: skip
    return parquet(folder, "test_unique-00000-of-00001.parquet", rows)


def rapidata(folder: Path) -> Path:
    rows = [
        {
            "prompt": f"square {i}", "image1": struct(i), "image2": struct(i + 1), "votes_image1": a, "votes_image2": b,
            "model1": "flux", "model2": "sd3", "detailed_results": "{}", "image1_path": "", "image2_path": "",
        }
        for i, (a, b) in enumerate(((20, 6), (3, 23), (13, 13)))
    ]  # fmt: skip
    return parquet(folder, "train_0001-00000-of-00001.parquet", rows)


def rapidata_weighted(folder: Path) -> Path:
    """One row without the axis."""
    rows = [
        {
            "prompt": f"square {i}", "image1": struct(i), "image2": struct(i + 1), "model1": "flux", "model2": "sd3",
            "weighted_results_image1_preference": p, "weighted_results_image2_preference": None if p is None else 1 - p,
        }
        for i, p in enumerate((0.8, 0.1, None))
    ]  # fmt: skip
    return parquet(folder, "train-00000-of-00001.parquet", rows)


VOTES = ("leftvote", "rightvote", "tievote", "bothbad_vote")


def genai_bench_image(folder: Path) -> Path:
    rows = [
        {
            "prompt": f"square {i}", "left_model": "m", "left_image": struct(i), "right_model": "n",
            "right_image": struct(i + 1), "vote_type": vote,
        }
        for i, vote in enumerate(VOTES)
    ]  # fmt: skip
    return parquet(folder, "test_v1-00000-of-00001.parquet", rows)


def genai_bench_edit(folder: Path) -> Path:
    rows = [
        {
            "source_prompt": "a", "target_prompt": "b", "instruct_prompt": f"make it {COLOURS[i]}",
            "source_image": struct(0), "left_model": "m", "left_output_image": struct(i), "right_model": "n",
            "right_output_image": struct(i + 1), "vote_type": vote,
        }
        for i, vote in enumerate(VOTES)
    ]  # fmt: skip
    return parquet(folder, "test_v1-00000-of-00001.parquet", rows)


def genai_bench_video(folder: Path) -> Path:
    """Addresses of films; their frames stand in folders of the same names."""
    rows = [
        {
            "prompt": f"square {i}", "left_model": "m", "left_video": f"https://example.org/v/{i}a.mp4",
            "right_model": "n", "right_video": f"https://example.org/v/{i}b.mp4", "vote_type": vote,
        }
        for i, vote in enumerate(VOTES)
    ]  # fmt: skip
    files(folder, *(f"{i}{side}/{k}.png" for i in range(4) for side in "ab" for k in range(2)))
    return parquet(folder, "test_v1-00000-of-00001.parquet", rows)


def videogen_rewardbench(folder: Path) -> Path:
    header = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall,fps_A,num_frames_A,fps_B,num_frames_B"
    rows = [
        f"videos/{i}a.mp4,videos/{i}b.mp4,m,n,square {i},{said},B,{said},{said},8,16,8,16"
        for i, said in enumerate(("A", "B", "same"))
    ]
    files(folder, *(f"videos/{i}{side}/{k}.png" for i in range(3) for side in "ab" for k in range(2)))
    (folder / "videogen-rewardbench.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def vlrmbench(folder: Path) -> Path:
    """Each kind of task; a row with `error_info`; reasonings as one text, as some of the files have them."""
    steps = ["STEP1: It is red.", "STEP2: It is round.", "STEP3: So it is a ball."]
    text = "STEP1:  It is red:\n- as STEP2: says.\n\n\nSTEP2: It is round.\nSTEP3: So it is a ball.\n\n**STEP4**"
    common = {"image": ["0.png"], "question": "What is it?", "step_list": steps, "category": "c"}
    rows: dict[str, list[dict[str, Any]]] = {
        "step_correctness": [
            {**common, "id": 1, "reasoning_error": steps, "task_gt": [0, 1, 0]},
            {**common, "id": 2, "reasoning_error": steps[:2], "task_gt": [1, 0]},
            {**common, "id": 3, "error_info": "broken"},
        ],
        "image_ref_error": [
            {**common, "id": "6b48", "image": ["0.png", "0.png"], "reasoning_error": text, "task_gt": [0, 1, 0]}
        ],
        "location_error": [{**common, "id": "4daf", "reasoning_error": text, "task_gt": [1, 0, 0]}],
        "multi_solution": [{**common, "id": 1, "reasoning_error": ["STEP1: It is green."], "task_gt": [0, 1]}],
        "foresight": [
            {**common, "id": 1, "reasoning_error": steps[:1], "task_gt": True},
            {**common, "id": 2, "reasoning_error": steps[:1], "task_gt": False},
        ],
        "error_reason_analysis": [
            {**common, "id": 1, "reasoning_error": steps, "task_gt": "Step 2 is wrong: it is square."},
            {**common, "id": 2, "reasoning_error": text, "task_gt": "Step 1 is wrong: it is blue."},
        ],
    }
    for name, some in rows.items():
        json_lines(folder / "benchmark_data", f"{name}.jsonl", some)
    files(folder, "meta_data/Image/0.png")
    return folder


def vilbench(folder: Path) -> Path:
    rows = [
        {
            "question": f"What is {i}?", "image": struct(i), "source": "MMStar",
            "candidates": [{"steps": [f"It is {k}.", "So it is."], "correct": k == i} for k in range(3)],
        }
        for i in range(3)
    ]  # fmt: skip
    return parquet(folder, "test-00000-of-00001.parquet", rows)


def vicrit_bench(folder: Path) -> Path:
    """Bare bytes; a row in which nothing was changed, and one whose phrase only lost a word."""
    phrases = (
        ("a plastic chair", "a red chair"),
        ("two cats", "three cats"),
        ("a dog", "a dog"),
        ("a small tree", "a tree"),
    )
    rows = [
        {
            "image": picture(i), "changed_caption": f"Here is {now} beside a wall.", "original_noun_phrases": was,
            "changed_noun_phrases": now, "category": ("material", "count", "object", "shape")[i], "domain": "natural",
        }
        for i, (was, now) in enumerate(phrases)
    ]  # fmt: skip
    return parquet(folder, "train-00000-of-00001.parquet", rows)


def refcoco(folder: Path) -> Path:
    rows = [
        {
            "image": f"{i}.png",
            "problem": f"Please provide the bounding box of the region this sentence describes: thing {i}",
            "solution": [2 + i, 2, 20 + i, 20],
            "normal_caption": f"thing {i}",
        }
        for i in range(4)
    ]
    files(folder, *(row["image"] for row in rows))
    return as_json(folder, "refcoco_val.json", rows)


def coco(folder: Path) -> Path:
    """Gaps in the category ids, a crowd."""
    value = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 32, "height": 32} for i in (7, 9)],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [15, 15, 10, 10], "area": 100, "iscrowd": 0},
            {"id": 3, "image_id": 9, "category_id": 3, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0},
            {"id": 4, "image_id": 9, "category_id": 3, "bbox": [0, 0, 30, 30], "area": 900, "iscrowd": 1},
        ],
        "categories": [
            {"id": 3, "name": "car", "supercategory": "v"},
            {"id": 90, "name": "toothbrush", "supercategory": "i"},
        ],
    }
    files(folder, "7.png", "9.png")
    return as_json(folder, "instances_val2017.json", value)


def ovd(folder: Path) -> Path:
    answer = '<answer>```json\n[{"bbox_2d":[1,1,11,11],"label":"red cup"}]\n```</answer>'
    rows = [
        {
            "id": i, "image": f"{i}.png",
            "conversations": [
                {"from": "human", "value": "<image>Find all objects of these categories: red cup."},
                {"from": "gpt", "value": said},
            ],
        }
        for i, said in enumerate((answer, "None"))
    ]  # fmt: skip
    files(folder, "0.png", "1.png")
    return json_lines(folder, "ovd.jsonl", rows)


def pope(folder: Path) -> Path:
    """Three files of JSON Lines with the suffix `.json`, whose question ids are the same."""
    for kind in ("random", "popular", "adversarial"):
        rows = [
            {
                "question_id": i,
                "image": f"COCO_val2014_{i}.jpg",
                "image_id": i,
                "text": f"Is there a thing {i} in the image?",
                "label": ("yes", "no")[i % 2],
            }
            for i in range(4)
        ]
        json_lines(folder, f"coco_pope_{kind}.json", rows)
    files(folder, *(f"COCO_val2014_{i}.jpg" for i in range(4)))
    return folder


def mmhal_bench(folder: Path) -> Path:
    rows = [
        {
            "question_type": "t",
            "question_topic": "outdoor",
            "image_id": str(i),
            "image_src": f"https://example.org/{i}.png",
            "image_content": ["square", COLOURS[i]],
            "question": f"What colour is it, {i}?",
            "gt_answer": f"{COLOURS[i]}.",
            "model_answer": "",
        }
        for i in range(3)
    ]
    files(folder, *(f"{i}.png" for i in range(3)))
    return as_json(folder, "response_template.json", rows)


def editreward_bench(folder: Path) -> Path:
    """Rankings of two, three and four; ties of two."""
    for n, rankings in ((2, ("A>B", "B>A", "A=B=Good", "A=B=Bad")), (3, ("A>B>C", "C>A>B")), (4, ("B>A>D>C",))):
        rows = [
            {
                "prompt": f"make it {COLOURS[i]}",
                "path_src": f"{n}/{i}/src.png",
                "paths_generated": [f"{n}/{i}/{k}.png" for k in range(n)],
                "human_vote": {"ranking": said, "preference": said},
            }
            for i, said in enumerate(rankings)
        ]
        files(folder, *(name for row in rows for name in (row["path_src"], *row["paths_generated"])))
        as_json(folder, f"EditReward_Bench_{n}pair.json", rows)
    return folder


GENEVAL_ROWS: tuple[dict[str, Any], ...] = (
    {"tag": "single_object", "include": [{"class": "cup", "count": 1}], "prompt": "a photo of a cup"},
    {
        "tag": "counting", "include": [{"class": "cup", "count": 2}], "exclude": [{"class": "cup", "count": 3}],
        "prompt": "a photo of two cups",
    },
    {"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}], "prompt": "a photo of a red cup"},
    {
        "tag": "position",
        "include": [{"class": "cup", "count": 1}, {"class": "dog", "count": 1, "position": ["left of", 0]}],
        "prompt": "a photo of a dog left of a cup",
    },
)  # fmt: skip


def geneval(folder: Path) -> Path:
    """Two images of each prompt."""
    json_lines(folder, "evaluation_metadata.jsonl", GENEVAL_ROWS)
    files(folder, *(f"{i:05}/samples/{k:04}.png" for i in range(len(GENEVAL_ROWS)) for k in range(2)))
    return folder


def samples(folder: Path) -> Path:
    """This project's own form; in one row the truth contradicts the votes."""
    rows = [
        {
            "id": f"s{i}", "task": "image_preference", "prompt": f"square {i}", "images": ["0.png", "1.png"],
            "gold": {"p_first": p}, "meta": {"difficulty": 1 + i % 2, **({"truth": 2} if i == 0 else {})},
        }
        for i, p in enumerate((0.9, 0.2, 0.5))
    ]  # fmt: skip
    files(folder, "0.png", "1.png")
    return json_lines(folder, "heldout.jsonl", rows)


WRITERS = {
    "vl_rewardbench": vl_rewardbench, "multimodal_rewardbench": multimodal_rewardbench,
    "mm_rlhf_rewardbench": mm_rlhf_rewardbench, "vlrmbench": vlrmbench, "vilbench": vilbench, "mj_bench": mj_bench,
    "mj_bench_bias": mj_bench_bias, "imagereward": imagereward, "hpdv2": hpdv2, "pickapic": pickapic,
    "rapidata": rapidata, "rapidata_as_rated": rapidata,
    "genai_bench_image": genai_bench_image, "genai_bench_edit": genai_bench_edit,
    "genai_bench_video": genai_bench_video, "videogen_rewardbench": videogen_rewardbench,
    "videogen_rewardbench_vq": videogen_rewardbench, "videogen_rewardbench_mq": videogen_rewardbench,
    "videogen_rewardbench_ta": videogen_rewardbench, "editreward_bench": editreward_bench, "geneval": geneval,
    "vicrit_bench": vicrit_bench, "refcoco": refcoco, "coco": coco, "ovd": ovd, "pope": pope,
    "mmhal_bench": mmhal_bench, "pocket": samples, "samples": samples,
}  # fmt: skip
