"""From a run to a release that loads and judges as its run does, and to the hub's API on loopback."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml
from benchmark_files import vl_rewardbench
from fake_hub import Hub
from huggingface_hub import ModelCard, lfs
from judge_server import serving
from PIL import Image

from reasoner_rm import Judge
from reasoner_rm.config import Config
from reasoner_rm.data.dataset_card import Entry, add_entry
from reasoner_rm.data.io import write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.predictors import CallablePredictor
from reasoner_rm.evaluation.registry import get_benchmark
from reasoner_rm.evaluation.runner import EvaluatedModel
from reasoner_rm.evaluation.runner import run as evaluated
from reasoner_rm.models.judge_checkpoint import JudgeConfig, save_judge
from reasoner_rm.models.loading import Vlm, load_vlm, set_pixels
from reasoner_rm.release.hub import upload
from reasoner_rm.release.model_card import SETTINGS
from reasoner_rm.release.prepare import prepare
from reasoner_rm.release.verify import verify
from reasoner_rm.schema import Sample
from reasoner_rm.tasks.render import load_template

FIGURES = {
    "accuracy": 0.7654, "accuracy_interval": [0.71, 0.81], "consistency": 0.6, "well_formed": 0.99, "n": 2, "of": 4,
    "by": {"corruption": {"count": {"accuracy": 0.9}, "relation": {"accuracy": 0.5}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: Vlm, perturbed) -> Path:  # type: ignore[no-untyped-def]
    """A run directory of an untrained model: what a pipeline leaves behind."""
    run = tmp_path_factory.mktemp("runs") / "mine"
    data = run / "data"
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    samples = []
    for i in range(4):
        names = [f"{data}/images/{i}-{k}.png" for k in (0, 1)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (56, 84, 3), dtype=np.uint8)).save(name)
        samples.append(
            Sample(f"s{i}", "image_preference", f"a <b>red</b> thing | {i}", tuple(names), gold={"p_first": 1.0})
        )
    write_samples(data / "heldout.jsonl", samples)
    add_entry(data, "heldout.jsonl", Entry("pairs", "My pairs", hub="me/pairs", licence="cc-by-4.0"))
    template = load_template("image_preference", "brief")
    config = Config(
        run={"out": run}, template="brief",
        model={"path": str(run / "base"), "min_pixels": 56 * 56, "max_pixels": 84 * 84},
        data={"heldout": data / "heldout.jsonl", "train": data / "train.jsonl"},
        listener={"path": "Qwen/Qwen2.5-VL-3B-Instruct"}, eval={"max_completion_length": 16},
    )  # type: ignore[arg-type]  # fmt: skip
    (run / "config.resolved.yaml").write_text(config.yaml())
    (run / "summary.json").write_text(json.dumps({"stages": {"cold_start": {"heldout": FIGURES}}, "seconds": 60}))
    (run / "versions.json").write_text(json.dumps({"torch": "2.13"}))
    (run / "evaluations").mkdir()
    row = {
        "id": "s1",
        "order": "given",
        "correct": 1.0,
        "well_formed": True,
        "text": "<think>a</think>\n<answer>x</answer>",
    }
    (run / "evaluations" / "cold_start-heldout.jsonl").write_text(json.dumps(row) + "\n")
    card = JudgeConfig("image_preference", template, 56 * 56, 84 * 84, str(run / "listener"), temperature=1.5)
    vlm = dataclasses.replace(perturbed(tiny), processor=copy.deepcopy(tiny.processor))
    set_pixels(vlm.processor, 56 * 56, 84 * 84)
    save_judge(vlm, card, run / "final")
    return run


@pytest.fixture(scope="module")
def release(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(run, tmp_path_factory.mktemp("out") / "release", "me/judge", "apache-2.0").folder


def test_a_release_judges_as_its_run(run: Path, release: Path) -> None:
    found = verify(release, run, 4, max_tokens=16)
    assert (found.asked, found.same, found.plain_asked, found.plain_same) == (8, 8, 4, 4)
    card = Judge.from_pretrained(release).config
    assert (card.template.name, card.temperature, card.max_pixels) == ("brief", 1.5, 84 * 84)


def test_plain_generate_is_the_policy_whatever_its_base_said(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "run"
    shutil.copytree(run, mine)
    file = mine / "final" / "generation_config.json"
    qwens = {"do_sample": True, "temperature": 0.1, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.5}
    file.write_text(json.dumps(json.loads(file.read_text()) | qwens))
    made = prepare(mine, tmp_path / "release", "me/judge").folder
    found = verify(made, mine, 2, max_tokens=16)
    assert (found.plain_asked, found.plain_same) == (4, 4)


def test_a_release_that_judges_otherwise_is_found_out(run: Path, release: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(release, other)
    weights = load_file(other / "model.safetensors")
    noise = torch.Generator().manual_seed(0)
    save_file(
        {k: v + 0.2 * torch.randn(v.shape, generator=noise) for k, v in weights.items()},
        other / "model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"\d+ of 4 texts of the release differ from the run's"):
        verify(other, run, 2, max_tokens=16)


def test_the_folder_is_whole_and_names_no_path_of_the_machine(run: Path, release: Path) -> None:
    files = {str(f.relative_to(release)) for f in release.rglob("*") if f.is_file()}
    assert files >= {
        "README.md", "model.safetensors", "config.json", "generation_config.json", "chat_template.jinja",
        "tokenizer.json", "reasoner_rm.json", "example/1.png", "example/2.png",
    }  # fmt: skip
    assert not any(f.suffix in (".bin", ".pt", ".pkl") for f in release.rglob("*"))
    assert (release / "model.safetensors").samefile(run / "final" / "model.safetensors"), "stored once"
    for file in release.rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            assert str(run.parent).encode() not in file.read_bytes(), file.name


def test_the_card_lists_settings_that_exist() -> None:
    config = Config.model_validate({"task": "image_preference", "model": {"path": "a/b"}}).model_dump()
    for section, keys in SETTINGS.items():
        assert set(keys) <= config[section].keys()


def test_the_model_card(release: Path) -> None:
    text = (release / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "apache-2.0" and head["datasets"] == ["me/pairs"]
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.7654 and result["metrics"][0]["args"]["n"] == "2 of 4"
    assert (
        result["metrics"][0]["args"]["interval_95"] == [0.71, 0.81]
        and "greedy" in result["metrics"][0]["args"]["protocol"]
    )
    for part in (
        "| cold start | held-out | 76.5% | 71.0% to 81.0% | 60.0% | 99.0% | 2 of 4 |", "cc-by-4.0", "My pairs",
        "a &lt;b>red&lt;/b> thing \\| 1", "learning_rate 2.5e-06", "Lowest by type of corruption: “relation”, 50.0%",
        "vllm serve me/judge", "![Image 2](example/2.png)", "Qwen/Qwen2.5-VL-3B-Instruct",
    ):  # fmt: skip
        assert part in text, part
    card = ModelCard(text)  # the hub's own reader
    (evaluated,) = card.data.eval_results
    assert evaluated.metric_value == 0.7654 and evaluated.dataset_name == "My pairs"


def test_results_on_benchmarks_stand_in_the_card(run: Path, tmp_path: Path) -> None:
    """With their protocol, for the reader and for the hub; those of another judge do not."""
    benchmark = get_benchmark("vl_rewardbench")
    items = benchmark.load(vl_rewardbench(tmp_path / "data"), any_revision=True)
    protocol = benchmark.protocol("both_orders")
    for name, model in (("mine", run), ("other", "Qwen/Qwen2.5-VL-3B-Instruct")):
        subject = EvaluatedModel(CallablePredictor(lambda s: 0), {"model": str(model)})
        evaluated(benchmark, items, subject, protocol, tmp_path / name)
    text = (prepare(run, tmp_path / "a", "me/judge", results=[tmp_path / "mine"]).folder / "README.md").read_text()
    assert "| VL-RewardBench | both_orders | accuracy | 50.0% | 50.0% to 50.0% | 8 | 0.0% |" in text
    found = {(r.dataset_type, r.metric_name): r.metric_value for r in ModelCard(text).data.eval_results}
    assert found["MMInstruction/VL-RewardBench", "accuracy (protocol both_orders)"] == 0.5 and len(found) == 3
    with pytest.raises(InputError, match=r"results of Qwen/Qwen2.5-VL-3B-Instruct, not of the run's; evaluate with"):
        prepare(run, tmp_path / "b", "me/judge", results=[tmp_path / "other"])
    assert not list(tmp_path.glob("*b*"))


def test_the_card_works_with_transformers_alone(run: Path, release: Path, tmp_path: Path) -> None:
    """The program in the card, as it stands, says what the judge says."""
    text = (release / "README.md").read_text()
    program = text.split("With transformers alone")[1].split("```python\n")[1].split("```")[0]
    for i, name in enumerate("ab"):
        shutil.copyfile(run / "data" / "images" / f"2-{i}.png", tmp_path / f"{name}.png")
    program = program.replace('"me/judge"', repr(str(release))).replace(', device_map="auto"', "")
    program = program.replace('"a.png"', repr(str(tmp_path / "a.png"))).replace(
        '"b.png"', repr(str(tmp_path / "b.png"))
    )
    said: list[str] = []
    exec(program, {"print": said.append})
    judge = Judge.from_pretrained(release, max_tokens=16)
    images = (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    ((vote,),) = judge.collect_votes([Sample("1", "image_preference", "a red circle", images)], both_orders=False)
    vlm = judge.engine.engine.vlm  # type: ignore[attr-defined]
    assert said == [vlm.tokenizer.decode(vote.completion.token_ids, skip_special_tokens=True)]


def test_an_adapter_is_merged(run: Path, tiny_folder: Path, tmp_path: Path, pictures) -> None:  # type: ignore[no-untyped-def]
    """A run whose `final/` holds LoRA weights beside a base is released as one whole model."""
    from reasoner_rm.config import LoraSection
    from reasoner_rm.models.lora import add_lora

    mine = tmp_path / "run"
    shutil.copytree(run, mine)
    vlm = add_lora(load_vlm(tiny_folder, device="cpu"), LoraSection(r=4))
    assert vlm.adapter is not None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in vlm.adapter.named_parameters():
            if "lora_" in name:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    (mine / "final" / "model.safetensors").unlink()
    vlm.adapter.peft_config["default"].base_model_name_or_path = str(tiny_folder)
    vlm.adapter.save_pretrained(mine / "final")
    made = prepare(mine, tmp_path / "release", "me/judge").folder
    assert not list(made.glob("adapter*"))
    merged = load_vlm(made, device="cpu").model
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected = vlm.model(input_ids=tokens).logits
        assert torch.allclose(merged(input_ids=tokens).logits, expected, atol=1e-4)
        with vlm.adapter.disable_adapter():
            assert not torch.allclose(vlm.model(input_ids=tokens).logits, expected, atol=1e-2), "the adapter matters"


def test_what_is_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained judge in this directory"):
        prepare(tmp_path, tmp_path / "x", "me/judge")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="the folder exists and is not a release"):
        prepare(run, tmp_path / "taken", "me/judge")
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "dear"
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    (broken / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"summary\.json:1: not valid JSON"):
        prepare(broken, tmp_path / "y", "me/judge")
    assert not (tmp_path / "y").exists()


# --- the hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    standin = Hub()
    with serving(standin.app()) as address:
        standin.url = address
        for name, value in (("ENDPOINT", address), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", standin.token)
        yield standin


def test_a_release_arrives_whole(hub: Hub, release: Path) -> None:
    address = upload(release, "me/judge")
    assert address.startswith(f"{hub.url}/me/judge/commit/") and len(hub.commits) == 1
    sent = {str(f.relative_to(release)): f.read_bytes() for f in release.rglob("*") if f.is_file()}
    assert hub.repos["me/judge"] == sent and hub.lfs


def test_a_dropped_connection_is_taken_up_again(hub: Hub, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries six times on its own, and gives up once; it waits shortly between them, in place of 23 s."""
    monkeypatch.setattr(lfs, "http_backoff", functools.partial(lfs.http_backoff, base_wait_time=0.01))
    hub.dropped = 8
    upload(release, "me/judge", backoff=0.01)
    assert set(hub.repos["me/judge"]) == {str(f.relative_to(release)) for f in release.rglob("*") if f.is_file()}
    assert len(hub.commits) == 1
    puts = sum(call.startswith("PUT") for call in hub.calls)
    upload(release, "me/judge", backoff=0.01)
    assert sum(call.startswith("PUT") for call in hub.calls) == puts, "what is there is not sent again"


def test_a_hub_that_refuses_or_is_gone(hub: Hub, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(InputError, match=r"the hub refuses .*hf auth login"):
        upload(release, "me/judge", backoff=0.01)
    assert not hub.repos
    with pytest.raises(InputError, match="is not a valid repository name"):
        upload(release, "me/ju dge", backoff=0.01)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        upload(release, "me/judge", backoff=0.01)


def test_published_and_loaded_by_name_from_the_shell(hub: Hub, run: Path, tmp_path: Path) -> None:
    """`publish` in one process, `judge --model me/judge` in another, which knows nothing but the hub's address."""
    env = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": hub.token,
        "HF_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    shell = [sys.executable, "-m", "reasoner_rm"]
    done = subprocess.run(
        [*shell, "publish", str(run), "--repo-id", "me/judge", "--out", str(tmp_path / "r"), "--check", "1", "--json"],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["same"] == told["asked"] == 2 and told["commit"].startswith(hub.url)
    pair = [str(run / "data" / "images" / f"0-{i}.png") for i in (0, 1)]
    ask = ["--caption", "a thing", *pair, "--max-tokens", "12", "--json"]
    there = subprocess.run([*shell, "judge", "--model", "me/judge", *ask], capture_output=True, text=True, env=env)
    assert there.returncode == 0, there.stderr[-2000:]
    here = Judge.from_pretrained(run, max_tokens=12).compare("a thing", *pair)
    assert (
        json.loads(there.stdout)["votes"] == list(here.votes)
        and json.loads(there.stdout)["reasoning"] == here.reasoning
    )
