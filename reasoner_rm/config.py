"""The configuration: one YAML with a section per stage. Unknown keys are refused, with the nearest known one.

Where a name of TRL's `GRPOConfig` is kept its meaning is kept. Defaults are the papers' (grpo loss, beta 0.04,
clip 0.2, temperature 1.0; UnifiedReward-Think for the SFT rate).
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasoner_rm.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]

ModelPart = Literal["vision", "merger", "language_model"]
Quantization = Literal["nf4", "int8"]

REFUSED = {
    "freeze_vision": "name the parts: model.freeze: [vision, merger]",
    "per_device_train_batch_size": "batches count prompts here, not completions: set prompts_per_device",
    "gradient_accumulation_steps": "it is called accumulation here",
    "use_vllm": "set engine.name: vllm",
}


class Section(BaseModel):
    """Strict: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSection(Section):
    """Where the run goes and what seeds it."""

    out: Path = Path("runs/run")
    seed: int = 0
    deepspeed: Path | None = None
    """A DeepSpeed configuration (ZeRO), for processes that `torchrun` starts; `accelerate launch` brings its own."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Trackers beside `metrics.jsonl`; they write into the run's `trackers/`, offline unless their own variables say
    otherwise."""


class LoraSection(Section):
    """Low-rank layers beside the language model's linear ones, instead of training all weights."""

    r: Count = 16
    alpha: Positive = 32.0
    dropout: Share = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ModelSection(Section):
    """The policy, and the bounds of an image for policy, listener and judge alike."""

    path: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    min_pixels: Count | None = None
    max_pixels: Count | None = None
    freeze: tuple[ModelPart, ...] = ()
    """Parts that stay as they are: `vision` (the tower), `merger` (what brings it into the language), `language_model`
    (its embeddings and head, too)."""
    keep_features: bool = False
    """With a frozen vision tower and merger: every image passes it once, up to 1 GB of features."""
    lora: LoraSection | None = None
    quantize: Quantization | None = None
    """With `lora`, while it is trained: the language model's own weights in 4 bits (QLoRA) or 8. What a stage leaves is
    whole again."""


EngineName = Literal["auto", "transformers", "vllm", "http"]


class EndpointSection(Section):
    """An OpenAI-compatible server, or several replicas of one."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)]
    """Each up to and including `/v1`."""
    model: str = ""
    """May be left out where only one is served."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key: it never stands in a file."""
    concurrency: Count = 64
    """Requests under way at once, over all replicas."""
    timeout: Positive = 600.0
    """Seconds for one answer."""
    retries: Annotated[int, Field(ge=0)] = 5
    """How often a request is sent again after a refused connection, a time-out, 429 or 5xx."""
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    input_price: NonNegative = 0.0
    output_price: NonNegative = 0.0
    """Dollars for a million tokens."""
    budget: Positive | None = None
    """Dollars; it is checked before each request, so the last ones may pass it a little."""


class ListenerSection(Section):
    """The frozen model that reads along. Without a path there is none, and `listener_belief` cannot be used. With the
    path `policy`, a LoRA policy lends its weights as they were before the stage, adapter off, at no extra memory. With
    an `endpoint`, a server is asked instead: vLLM's, or another that goes on with an assistant's unfinished message."""

    path: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    """`vllm`: an engine of its own in this process, which holds its memory throughout; what the `engine` section says
    of keys and values, length and compilation holds for it, too."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The share of a GPU's memory for that engine."""
    endpoint: EndpointSection | None = None
    max_failed: Share = 0.1
    """The share of questions on which the server may fail, each a reading that is missing; beyond it the run stops."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    temperature: Positive = 1.0
    strip_verdict: bool = False
    both_orders: bool = False
    min_mass: Share = 0.05


class EngineSection(Section):
    """What rolls out. `auto`: vLLM in this process where it is installed and CUDA is there, else transformers; `http`:
    the server of `endpoint`. The rest is vLLM's: its own names where it has one, and `None` where it may choose."""

    name: EngineName = "auto"
    endpoint: EndpointSection | None = None
    handover: Path | None = None
    """With `http`, beside training: a folder that trainer and servers see under the same path, through which the
    policy's weights go before each rollout."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: the policy's own. Another precision is another policy, by as much as `sampler_gap` shows."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of a GPU's memory for the engine's weights and its keys and values. None: 0.4 beside training, alone
    0.9 or what is free."""
    kv_cache_gb: Positive | None = None
    """So much for keys and values, in the place of that share. On a CPU: 1."""
    max_model_len: Count | None = None
    """The most tokens of a prompt with its completion. None: the model's own, or what memory allows."""
    tensor_parallel_size: Count = 1
    """GPUs for one engine. Beside training each process has an engine of its own, on its own GPU: 1."""
    enforce_eager: bool = False
    """Neither CUDA graphs nor compilation: a faster start, slower rollouts."""
    sleep: bool = True
    """Beside training on CUDA: the engine's memory is given back while the policy is trained."""
    max_logp_gap: Positive = 0.1
    """How far the engine's log-probabilities may be from the trainer's in the mean, in nats, right after the weights
    were handed over. Beyond it the run stops: the engine answers for another model."""


class DataSection(Section):
    """JSONL files of samples, relative to the YAML's folder. `cold_start` has targets, `train` needs none. `workers`
    processes prepare the next window's images while this one is trained on."""

    cold_start: Path | None = None
    train: Path | None = None
    heldout: Path | None = None
    ood: Path | None = None
    workers: Annotated[int, Field(ge=0)] = 0


class TrainSection(Section):
    """What every training has. A state to resume from is kept every `save_steps` steps, the last `save_total_limit`
    of them at a time; when the stage is over they go."""

    learning_rate: Positive
    learning_rates: dict[ModelPart, Positive] = {}
    """Of parts whose rate is another."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    warmup_ratio: Share
    epochs: Positive
    max_steps: int = -1
    accumulation: Count
    weight_decay: NonNegative = 0.0
    max_grad_norm: Positive = 1.0
    gradient_checkpointing: bool = False
    bf16: bool = False
    save_steps: Count = 50
    save_total_limit: Count = 2
    eval_steps: Count | None = None
    """Measure on `data.heldout` every so many steps, and after the last; the metrics hold it as `eval/NAME`."""
    metric_for_best_model: Literal["accuracy", "consistency", "well_formed", "mean_ap", "ap50"] | None = None
    """The stage ends with the weights that were best by this figure, not with the last ones."""
    early_stopping_patience: Count | None = None
    """The stage ends after so many measurements in a row without a better one."""


class SftSection(TrainSection):
    """Supervised fine-tuning on the samples' targets; loss on the target only."""

    learning_rate: Positive = 2.5e-6
    epochs: Positive = 3.0
    batch_size: Count = 8
    accumulation: Count = 1
    warmup_ratio: Share = 0.05
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"


class SiftSection(Section):
    """Rejection sampling: `samples` completions a row and order. A pass rate of at least `sft_above` makes a row SFT
    data (its best well-formed completion as target), one of at most `rl_below` RL data; `rest` says where the others
    go."""

    samples: Count = 4
    sft_above: Share = 0.75
    rl_below: Share = 0.25
    rest: Literal["both", "rl", "sft", "neither"] = "both"
    both_orders: bool = False
    """Ask every comparison in both orders, and learn its answers in both. A taste for one position is then right half
    of the time, not now and then always: below `sft_above`, and fine-tuning does not teach it."""
    solved: Literal["sft", "both"] = "sft"
    """Where rows of at least `sft_above` go. RL on nothing but the rows that a model gets wrong punishes what it
    does right: there its own eyes are worse than a coin, and it learns to close them."""
    temperature: Positive = 1.0
    max_completion_length: Count = 1024
    sft: SftSection = SftSection()


class LengthStage(Section):
    """So many steps with completions of at most this length and this many of them a prompt."""

    max_completion_length: Count
    num_generations: Annotated[int, Field(ge=2)]
    steps: Count


AlarmName = Literal[
    "entropy_collapse", "length_runaway", "format_only", "zero_variance", "engine_mismatch", "kl_runaway"
]


class AlarmSection(Section):
    """What is warned of, once each, by the means over the last `steps` steps and over the first. A limit of `null` is
    never reached; `stop_on` names those that end the run, its state saved."""

    steps: Count = 20
    entropy_share: Share | None = 0.1
    """Entropy below this share of what it was at first."""
    length_ratio: Positive | None = 2.0
    """Completions more than this many times as long as at first."""
    format_rise: Share | None = 0.1
    """The format reward risen by more than this, with no more right answers than at first."""
    zero_variance: Share | None = 0.8
    """More than this share of groups without any difference in reward."""
    sampler_gap: Positive | None = 0.05
    """Nats between the engine's log-probabilities and the trainer's."""
    kl: Positive | None = 1.0
    """Nats a token from the reference."""
    stop_on: tuple[AlarmName, ...] = ()


class GrpoSection(TrainSection):
    """Group relative policy optimisation. A step sees prompts_per_device x accumulation prompts a device, each
    answered num_generations times, and trains on them num_iterations times."""

    rewards: str | dict[str, float | list[tuple[float, float]] | dict[str, Any]] = "listener"
    """A preset, a component, or a mapping of them to weights. A setting {weight: 0.5, name: value} gives parameters;
    a weight [[0, 1.0], [200, 0.0]] runs straight between these steps."""
    prompts_per_device: Count = 1
    num_generations: Annotated[int, Field(ge=2)] = 8
    accumulation: Count = 8
    num_iterations: Count = 1
    both_orders: bool = False
    """Every comparison stands in its window twice, as it is and with the candidates exchanged, as two prompts of
    `prompts_per_device`. A taste for one position then earns nothing; a random imbalance of the orders rewards it."""
    epochs: Positive = 1.0
    learning_rate: Positive = 1e-6
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "constant_with_warmup"
    warmup_ratio: Share = 0.0
    beta: NonNegative = 0.04
    epsilon: Positive = 0.2
    epsilon_high: Positive | None = None
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo", "gspo", "cispo", "sapo"] = "grpo"
    scale_rewards: Literal["group", "none"] = "group"
    temperature: Positive = 1.0
    max_completion_length: Count = 1024
    stages: tuple[LengthStage, ...] = ()
    """Progressive thinking suppression (Vision-R1, arXiv 2503.06749: 4096 x 16, then 8192 x 8, 100 steps each): they
    take the place of num_generations and max_completion_length; max_steps is their sum unless it is set."""
    mixing: Literal["sum", "decoupled", "pareto"] = "sum"
    """What advantages are made of: the weighted sum of the rewards; of rewards that were normalised within the group
    first (GDPO); or the sum, for the completions alone that no other of the group beats (Parrot)."""
    filter_on: str = "accuracy"
    filter_epsilon: NonNegative | None = None
    """Groups that differ by no more than this in that component teach nothing. None: no group is filtered."""
    resample_cap: NonNegative = 0.0
    """Dynamic sampling (DAPO, arXiv 2503.14476): such groups give their places to other prompts, of which up to this
    many times the window's number are rolled out beside it."""
    sync_ref_model: bool = False
    """TR-DPO (arXiv 2404.09656): every `ref_model_sync_steps` steps the reference goes `ref_model_mixup_alpha` of the
    way to the policy."""
    ref_model_mixup_alpha: Share = 0.6
    ref_model_sync_steps: Count = 512
    alarms: AlarmSection = AlarmSection()
    scorers: dict[str, str] = {}
    """Who rewards such as `judged` ask: names to functions, path/to/file.py:function."""
    scorer_deadline: Positive = 120.0
    """Seconds that the awaited rewards of a window have; what has not answered by then could not be scored."""
    mask_truncated_completions: bool = False
    engine_correction: Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] | None = None
    """Importance weights for an engine whose probabilities differ from the trainer's; costs one more forward pass."""
    max_tokens_per_forward: Count | None = None
    """Prompt and completion tokens of one forward pass of the update; a larger group goes in parts, its prompt
    computed once in each, and the gradient stays what it is."""
    shared_prefix: bool = True
    rollouts_every: Count = 10
    shuffle_rewards: bool = False
    """A sanity check, not a recipe: rewards are permuted within each group, so that nothing can be learnt."""

    @property
    def last_step(self) -> int:
        """How many steps there are; -1: as many as the epochs hold."""
        return sum(s.steps for s in self.stages) if self.stages and self.max_steps < 0 else self.max_steps

    def lengths(self, step: int) -> tuple[int, int]:
        """The completions a prompt gets at a step, and how long they may be. After the last stage it goes on."""
        for stage in self.stages:
            if step < stage.steps or stage is self.stages[-1]:
                return stage.num_generations, stage.max_completion_length
            step -= stage.steps
        return self.num_generations, self.max_completion_length


class EvalSection(Section):
    """What is measured after each stage."""

    limit: Count | None = None
    max_completion_length: Count = 1024
    blind: bool = True


class Config(Section):
    """Everything a run needs."""

    run: RunSection = RunSection()
    task: str = "image_preference"
    template: str = "default"
    model: ModelSection = ModelSection()
    engine: EngineSection = EngineSection()
    listener: ListenerSection = ListenerSection()
    data: DataSection = DataSection()
    sft: SftSection = SftSection()
    sift: SiftSection = SiftSection()
    grpo: GrpoSection = GrpoSection()
    eval: EvalSection = EvalSection()

    def yaml(self) -> str:
        """The resolved configuration, every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(file: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `--set a.b=c` overrides.

    Raises:
        InputError: no such file, broken YAML, an unknown key (with the nearest known one), a wrong value; each with
            its line, or the override it came from.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError("no such config", file=path, remedy="give a YAML file, for example one of configs/")
    try:
        text = path.read_text(encoding="utf-8")
        node, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not valid YAML: {problem}", file=path, line=mark.line + 1 if mark else None) from None
    if not isinstance(values, dict):
        raise InputError(
            "a config is a mapping of sections", file=path, remedy=f"sections: {', '.join(Config.model_fields)}"
        )
    lines = dict(_lines(node))
    origin: dict[tuple[str, ...], str] = {}
    for override in overrides:
        keys = _override(values, override)
        origin[keys] = override
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path, lines, origin) from None
    return _anchor(config, path.parent)


def _override(values: dict[str, Any], text: str) -> tuple[str, ...]:
    dotted, sign, value = text.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not sign or not all(keys):
        raise InputError(f"--set {text!r} is not of the form a.b=c")
    at = values
    for key in keys[:-1]:
        if not isinstance(at.get(key), dict):
            at[key] = {}
        at = at[key]
    try:
        at[keys[-1]] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set {text!r}: the value is not valid YAML") from None
    return keys


def _explain(
    error: ValidationError, path: Path, lines: dict[tuple[str, ...], int], origin: dict[tuple[str, ...], str]
) -> InputError:
    first = error.errors()[0]
    where = tuple(str(k) for k in first["loc"])
    known = next((where[:i] for i in range(len(where), 0, -1) if where[:i] in lines or where[:i] in origin), where)
    dotted = ".".join(known)
    if first["type"] == "extra_forbidden":
        names = list(_section(known[:-1]).model_fields)
        near = difflib.get_close_matches(known[-1], names, 1)
        remedy = REFUSED.get(known[-1]) or (f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}")
        what = f"unknown key {dotted!r}"
    else:
        what, remedy = f"{dotted}: {first['msg'].lower()}, got {str(first['input'])[:60]!r}", "correct the value"
    if known in origin:
        return InputError(f"--set {origin[known]}: {what}", remedy=remedy)
    return InputError(what, file=path, line=lines.get(known), remedy=remedy)


def _section(keys: Sequence[str]) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for key in keys:
        annotation = section.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        section = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return section


def _lines(node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*prefix, str(key.value)), key.start_mark.line + 1
            yield from _lines(value, (*prefix, str(key.value)))


def _anchor(config: Config, folder: Path) -> Config:
    """Data paths, and files of one's own functions, relative to the YAML's folder."""
    files = {k: folder / v for k, v in config.data if isinstance(v, Path) and not v.is_absolute()}
    grpo, rewards = config.grpo, config.grpo.rewards
    functions = {
        "rewards": _own(rewards, folder) if isinstance(rewards, str)
        else {_own(name, folder): setting for name, setting in rewards.items()},
        "scorers": {name: _own(function, folder) for name, function in grpo.scorers.items()},
    }  # fmt: skip
    run = config.run
    if run.deepspeed is not None and not run.deepspeed.is_absolute():
        run = run.model_copy(update={"deepspeed": folder / run.deepspeed})
    data, grpo = config.data.model_copy(update=files), grpo.model_copy(update=functions)
    return config.model_copy(update={"run": run, "data": data, "grpo": grpo})


def _own(name: str, folder: Path) -> str:
    return str(folder / name) if ".py:" in name else name
