"""Speed and memory of recipes and validation, and resuming after kills, as JSON.

    python benchmarks/recipes.py rows|memory|kills|images [--json FILE.json]

- rows: rows per second from a dataset's file to JSONL, without opening images, one process; several families.
- memory: peak memory of a build of 10⁴, 10⁵ and 10⁶ rows, each in a separate process.
- kills: builds killed at random moments and resumed, compared byte by byte with an uninterrupted one.
- images: JPEG images of 512 pixels per second in `validate`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from data_recipes import get_recipe
from reasoner_rm.data.build import Settings, build
from reasoner_rm.data.validation import validate

ROWS = 40_000


def hpdv3(folder: Path, n: int) -> None:
    """A JSON array, written row by row."""
    picture(folder / "w.jpg", 0), picture(folder / "l.jpg", 1)
    row = {"path1": "w.jpg", "path2": "l.jpg", "choice_dist": [9, 1], "confidence": 0.9, "model1": "a", "model2": "b"}
    with (folder / "train.json").open("w") as out:
        for i in range(n):
            text = json.dumps(
                {**row, "prompt": f"a fox number {i // 3} under a tree, painted in oil on a large canvas"}
            )
            out.write(("[" if i == 0 else ",\n") + text)
        out.write("]")


def rlaif_v(folder: Path, n: int) -> None:
    """Parquet with embedded images, which samples refer to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture(folder / "x.jpg", 0, 64)
    image = {"bytes": (folder / "x.jpg").read_bytes(), "path": "x.jpg"}
    rows = {
        "image": [image] * n,
        "question": [f"What is in picture {i}?" for i in range(n)],
        "chosen": ["A cat that sleeps on a red sofa beside a window. " * 5] * n,
        "rejected": ["A dog that sleeps on a red sofa beside a window. " * 5] * n,
    }
    pq.write_table(pa.table(rows), folder / "train.parquet", row_group_size=5000)


def m_haldetect(folder: Path, n: int) -> None:
    picture(folder / "COCO_val2014_000000000042.jpg", 0)
    text = "A cat sits. A dog runs."
    marks = [{"start": 0, "end": 11, "label": "ACCURATE"}, {"start": 12, "end": 23, "label": "INACCURATE"}]
    row = {"question": "Describe it.", "response": text, "image_id": 42, "annotations": marks}
    (folder / "train_raw.json").write_text(json.dumps([row] * n))


def llava(folder: Path, n: int) -> None:
    """Text only, without an image column."""
    turns = [
        {"from": "human", "value": "How many legs has a spider, and why?"},
        {"from": "gpt", "value": "Eight. " * 20},
    ]
    with (folder / "train.jsonl").open("w") as out:
        for i in range(n):
            out.write(json.dumps({"id": str(i), "conversations": turns}) + "\n")


FAMILIES: dict[str, tuple[Callable[[Path, int], None], dict[str, Any]]] = {
    "hpdv3": (hpdv3, {}),
    "rlaif_v": (rlaif_v, {}),
    "m_haldetect": (m_haldetect, {}),
    "llava": (llava, {"text_only": True}),
}


def picture(file: Path, seed: int, side: int = 512) -> None:
    rng = random.Random(seed)
    small = Image.frombytes("RGB", (32, 32), bytes(rng.randrange(256) for _ in range(32 * 32 * 3)))
    small.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)


def rows(work: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"rows": ROWS}
    for name, (make, options) in FAMILIES.items():
        data = work / name
        data.mkdir()
        make(data, ROWS)
        recipe, best, cpu = get_recipe(name), 0.0, 0.0
        for attempt in range(3):
            start, used = time.perf_counter(), time.process_time()
            build(recipe, data, work / f"{name}-{attempt}", Settings(), recipe.chosen(**options))
            best = max(best, ROWS / (time.perf_counter() - start))
            cpu = max(cpu, ROWS / (time.process_time() - used))
        result[name] = {"rows_per_second": round(best), "rows_per_cpu_second": round(cpu)}
    return result


def memory(work: Path) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for n in (10**4, 10**5, 10**6):
        data = work / str(n)
        data.mkdir()
        hpdv3(data, n)
        command = [sys.executable, __file__, "build", "--data", str(data), "--to", str(work / f"out-{n}")]
        peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        result[f"{n} rows"] = peak
        for file in (*data.iterdir(), *(work / f"out-{n}").glob("*")):
            file.unlink()
    return result


def build_once(data: Path, out: Path, part: int) -> dict[str, Any]:
    """Build in this process and return its peak memory."""
    build(get_recipe("hpdv3"), data, out, Settings(part=part, heldout=0.1), command="c")
    return {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def kills(work: Path, times: int = 20) -> dict[str, Any]:
    """Each round kills a build once at a random moment and resumes it."""
    data = work / "data"
    data.mkdir()
    hpdv3(data, 5_000)
    start = time.perf_counter()
    command = [sys.executable, __file__, "build", "--data", str(data), "--part", "100", "--to"]
    subprocess.run([*command, str(work / "uninterrupted" / "set")], check=True, capture_output=True)
    duration = time.perf_counter() - start
    rng, rounds = random.Random(0), []
    expected = content(work / "uninterrupted" / "set")
    for i in range(times):
        out = work / f"{i}" / "set"
        with subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (out / ".train.building").is_dir():
                time.sleep(0.005)
            time.sleep(rng.uniform(0, duration / 2))
            process.send_signal(signal.SIGKILL)
        parts = len(list((out / ".train.building").glob("*.account.json")))
        done = (out / "train.jsonl").is_file() and not (
            out / ".train.building"
        ).is_dir()  # a completed build refuses to run again and removes its parts
        subprocess.run([*command, str(out)], check=not done, capture_output=True)
        rounds.append(
            {
                "killed": process.returncode == -signal.SIGKILL,
                "parts": parts,
                "same": (built := content(out)) == expected,
            }
        )
        if built != expected:
            rounds[-1]["differs"] = sorted(n for n in {*built, *expected} if built.get(n) != expected.get(n))
    return {"kills": sum(r["killed"] for r in rounds), "identical": sum(r["same"] for r in rounds), "rounds": rounds}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def images(work: Path, n: int = 1500) -> dict[str, Any]:
    lines = []
    for i in range(64):
        picture(work / f"{i}.jpg", i)
    for i in range(n // 2):
        names = [f"{(2 * i) % 64}.jpg", f"{(2 * i + 1) % 64}.jpg"]
        row = {
            "id": str(i),
            "task": "image_preference",
            "prompt": f"caption {i}",
            "images": names,
            "gold": {"p_first": 1.0},
        }
        lines.append(json.dumps(row))
    (work / "set.jsonl").write_text("\n".join(lines) + "\n")
    best, cpu = 0.0, 0.0
    for _ in range(3):
        start, used = time.perf_counter(), time.process_time()
        report = validate(work / "set.jsonl", workers=2)
        best = max(best, report.images / (time.perf_counter() - start))
        cpu = max(cpu, report.images / (time.process_time() - used))
    return {
        "images": report.images,
        "images_per_second": round(best),
        "images_per_cpu_second": round(cpu),
        "workers": 2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rows", "memory", "kills", "images", "build"))
    parser.add_argument("--json", type=Path, help="also write the JSON to this file")
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--to", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", type=int, default=20_000, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "build":
        print(json.dumps(build_once(args.data, args.to, args.part)))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as work:
        measured = {"rows": rows, "memory": memory, "kills": kills, "images": images}[args.what](Path(work))
    result = {"what": args.what, "load_before": round(load, 2), "cores": os.cpu_count(), **measured}
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
