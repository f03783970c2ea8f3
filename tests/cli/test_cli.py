"""The shell as a user meets it: exit codes, one-line errors, instant help."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from shell import fails, shell


def process(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m reasoner_rm ARGS`, where it matters that it is a process."""
    return subprocess.run([sys.executable, "-m", "reasoner_rm", *map(str, args)], capture_output=True, text=True)


def row(tmp_path: Path, **changes: object) -> dict[str, object]:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 60), "white").save(tmp_path / name)
    base = {
        "id": "1",
        "task": "image_preference",
        "prompt": "a 7",
        "images": ["a.png", "b.png"],
        "gold": {"p_first": 1.0},
    }
    return {**base, **changes}


def config(tmp_path: Path, tiny: Path, lines: list[str], **sections: object) -> Path:
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + ("" if lines and lines[-1].endswith("CUT") else "\n"))
    settings = {
        "run": {"out": str(tmp_path / "run")},
        "template": "brief",
        "model": {"path": str(tiny)},
        "listener": {"path": str(tiny)},
        "data": {"train": "train.jsonl", "cold_start": "train.jsonl"},
        "grpo": {"max_steps": 1, "gradient_accumulation_steps": 1, "num_generations": 2, "max_completion_length": 4},
        "sft": {"max_steps": 1},
        **sections,
    }
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    return file


def test_the_version() -> None:
    assert shell("--version").stdout == f"reasoner-rm {version('reasoner-rm')}\n"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom reasoner_rm.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_wrong_key_is_answered_without_torch(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("grpo:\n  betta: 1\n")
    assert "did you mean 'beta'?" in fails("grpo", file)
    code = (
        "import sys\nfrom reasoner_rm.cli import main\n"
        f"try: main(['grpo', {str(file)!r}])\nexcept SystemExit as e: assert e.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_a_wrong_input_ends_the_process_with_2_and_one_line(tmp_path: Path) -> None:
    done = process("report", tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == fails("report", tmp_path) + "\n"


@pytest.mark.parametrize(
    "verb", ["pocket", "sft", "rejection-sampling", "grpo", "eval", "judge", "reward", "data", "report"]
)
def test_every_verb_has_help(verb: str) -> None:
    assert shell(verb, "--help").returncode == 0


def test_bad_data_is_named_with_file_and_line(tmp_path: Path, tiny_folder: Path) -> None:
    good = json.dumps(row(tmp_path))
    for lines, expected in (
        ([good, '{"id": "2", "task": "image_pref CUT'], ("train.jsonl:2:", "cut off")),
        (
            [good, json.dumps(row(tmp_path, id="2", task="image_preferense"))],
            ("train.jsonl:2:", "did you mean 'image_preference'?"),
        ),
        ([json.dumps(row(tmp_path, images=["a.png", "none.png"]))], ("train.jsonl:1:", "none.png")),
        ([], ("train.jsonl", "empty")),
    ):
        message = fails("grpo", config(tmp_path, tiny_folder, lines))
        assert all(part in message for part in expected), message
        assert not (tmp_path / "run" / "final").exists()


def test_a_broken_image_stops_the_stage(tmp_path: Path, tiny_folder: Path) -> None:
    file = config(tmp_path, tiny_folder, [json.dumps(row(tmp_path))])
    (tmp_path / "b.png").write_bytes(b"\x89PNG not really")
    message = fails("grpo", file)
    assert "b.png" in message and "broken image" in message
    assert "b.png" in fails("data", "validate", tmp_path / "train.jsonl")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path / "llama")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 60)).save(tmp_path / name)
    message = fails("judge", "--model", tmp_path / "llama", "--caption", "x", tmp_path / "a.png", tmp_path / "b.png")
    assert "'llama'" in message and "qwen2_5_vl" in message


def test_models_that_are_not_there(tmp_path: Path, tiny_folder: Path) -> None:
    row(tmp_path)
    images = (tmp_path / "a.png", tmp_path / "b.png")
    assert "no config.json" in fails("judge", "--model", tmp_path, "--caption", "x", *images)
    assert "builtin:" in fails("judge", "--model", "builtin:nothing", "--caption", "x", *images)
    assert "--caption is empty" in fails("judge", "--model", tiny_folder, "--caption", " ", *images)
    (tmp_path / "broken").mkdir()
    for file in tiny_folder.iterdir():
        data = file.read_bytes()
        (tmp_path / "broken" / file.name).write_bytes(data[:1000] if file.suffix == ".safetensors" else data)
    assert "broken: weights are missing" in fails("judge", "--model", tmp_path / "broken", "--caption", "x", *images)
    assert "no such image" in fails("judge", "--model", tiny_folder, "--caption", "x", tmp_path / "none.png", images[1])


def test_stages_end_to_end_and_a_run_is_never_overwritten(tmp_path: Path, tiny_folder: Path) -> None:
    target = "<think>Image 1 shows a 7.</think>\n<answer>Image 1 is better</answer>"
    lines = [json.dumps(row(tmp_path, id=str(i), target=target)) for i in range(4)]
    file = config(tmp_path, tiny_folder, lines)
    for verb in ("sft", "grpo"):
        done = shell(verb, file, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
    run = tmp_path / "run"
    assert (run / "report.html").is_file() and (run / "final" / "reasoner_rm.json").is_file()
    assert {json.loads(line)["stage"] for line in (run / "metrics.jsonl").open()} == {"cold_start", "grpo"}
    assert not [p for p in run.rglob("*") if ".writing" in p.name or p.name.startswith(".tmp")]
    assert "exists already" in fails("pocket", "--out", run) and "already" in fails("sft", file)
    verdict = shell(
        "judge",
        "--model",
        run,
        "--caption",
        "a 7",
        "--max-tokens",
        "4",
        "--json",
        tmp_path / "a.png",
        tmp_path / "b.png",
    )
    assert json.loads(verdict.stdout)["parsed"] is False


def test_grpo_needs_a_listener_for_its_preset(tmp_path: Path, tiny_folder: Path) -> None:
    file = config(tmp_path, tiny_folder, [json.dumps(row(tmp_path))], listener={})
    assert "needs a listener" in fails("grpo", file)


def test_rewards_in_the_shell(tmp_path: Path) -> None:
    sample = tmp_path / "s.json"
    sample.write_text(json.dumps(row(tmp_path)))
    text = "<think>x</think><answer>Image 1 is better</answer>"
    done = shell("reward", "accuracy", "--sample", sample, "--completion", "-", stdin=text)
    assert "accuracy                 1.0000  [0, 1]" in done.stdout and "well formed: yes" in done.stdout
    malformed = shell("reward", "unified_think", "--sample", sample, "--completion", "-", "--json", stdin=text + " so")
    found = json.loads(malformed.stdout)
    assert found["components"] == {"format": 1.0, "accuracy": 1.0} and found["total"] == 2.0
    assert found["parsed"]["answer"] == "Image 1 is better" and found["parsed"]["parse_error"] == "text after </answer>"
    strict = shell(
        "reward", "format", "--param", "mode=strict", "--sample", sample, "--completion", "-", stdin=text + " so"
    )
    assert "format                   0.0000  [0, 1]" in strict.stdout and "no, text after </answer>" in strict.stdout
    unheard = shell("reward", "listener", "--sample", sample, "--completion", "-", stdin=text)
    assert "none  needs a listener" in unheard.stdout and "1.5000" in unheard.stdout
    listed = shell("reward", "--list").stdout
    for part in ("listener_belief  [0, 1]", "source: Vision-R1 (arXiv 2503.18013)", "preset: 0.9 vicrit + 0.1 format"):
        assert part in listed
    own = tmp_path / "mine.py"
    own.write_text(
        "def short(group, parsed, context, *, most=9):\n"
        "    return [float(len(c.text) < most) for c in group.completions]\n"
    )
    done = shell("reward", f"{own}:short", "--param", "most=99", "--sample", sample, "--completion", "-", stdin=text)
    assert "1.0000  [-inf, inf]" in done.stdout
    assert "defines no 'long'" in fails("reward", f"{own}:long", "--sample", sample, "--completion", "-")
    assert "did you mean 'mode'" in fails(
        "reward", "format", "--param", "modes=a", "--sample", sample, "--completion", "-"
    )
    assert "'strict', 'prefix' or 'search', got 'loose'" in fails(
        "reward", "format", "--param", "mode=loose", "--sample", sample, "--completion", "-"
    )
    assert "did you mean 'accuracy'" in fails("reward", "acuracy", "--sample", sample, "--completion", "-", stdin="")
    assert "not valid JSON" in fails("reward", "format", "--sample", Path(__file__), "--completion", "-")


def test_unknown_world_and_foreign_report(tmp_path: Path) -> None:
    assert "known: shapes, digits" in fails("pocket", "--world", "moon", "--out", tmp_path / "x")
    assert "did you mean 'detection'?" in fails("pocket", "--task", "detect", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert "not a run directory" in fails("report", tmp_path)


def test_data_show_prints_cards_and_writes_a_page(tmp_path: Path) -> None:
    for task in ("image_preference", "detection", "caption_critic", "step_critique"):
        args = ("--task", task, "--n", "3", "--seed", "1", "--out", tmp_path)
        assert shell("data", "build", "pocket", *map(str, args)).returncode == 0
    file = tmp_path / "train-image_preference.jsonl"
    shown = shell("data", "show", str(file), "--limit", "2").stdout
    assert shown.count("── pocket-image_preference") == 2 and "2 of 3 samples" in shown
    assert shown.count("✓") == shown.count("✗") == 2
    page = tmp_path / "page.html"
    for name, marks in (("detection", "<rect"), ("caption_critic", "<mark>"), ("step_critique", "Step 3")):
        assert shell("data", "show", str(tmp_path / f"train-{name}.jsonl"), "--html", str(page)).returncode == 0
        assert page.read_text().count('<article class="card">') == 3 and marks in page.read_text()


def test_data_show_and_build_refuse_in_one_line(tmp_path: Path) -> None:
    assert "no such file" in fails("data", "show", tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "task": "qa", "prompt": "?"}\n{"id": 2\n')
    assert "bad.jsonl:2:" in fails("data", "show", tmp_path / "bad.jsonl")
    assert "--limit is 0" in fails("data", "show", tmp_path / "bad.jsonl", "--limit", "0")
    assert "choose among 1, 2, 3" in fails("data", "build", "pocket", "--levels", "1,x", "--out", tmp_path)
    assert "did you mean 'grounding'?" in fails("data", "build", "pocket", "--task", "groundin", "--out", tmp_path)
