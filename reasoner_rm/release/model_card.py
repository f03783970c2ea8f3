"""The model card of a release: usage, metrics, training settings, data with licences, and limits, all from the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from reasoner_rm.data.dataset_card import licences
from reasoner_rm.evaluation.export import model_index
from reasoner_rm.release.example import Example
from reasoner_rm.release.run_info import RunInfo, is_hub_id
from reasoner_rm.report.formatting import DATA_NAMES, metric_name, split_name, stage_name
from reasoner_rm.schema import PAIRWISE_TASKS

SETTINGS = {
    "sft": ("learning_rate", "epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "lr_scheduler_type"),
    "rejection_sampling": ("num_samples", "sft_above", "rl_below", "temperature"),
    "grpo": (
        "learning_rate", "prompts_per_device", "num_generations", "gradient_accumulation_steps",
        "max_steps", "beta", "epsilon",
        "loss_type", "scale_rewards", "temperature", "max_completion_length", "both_orders",
    ),
}  # fmt: skip
"""The settings that a card lists, by section of the configuration."""

SECTIONS = {"cold_start": "sft", "rejection_sampling": "rejection_sampling", "grpo": "grpo"}
TASK_QUESTIONS = {
    "image_preference": "which of two images matches a caption better",
    "video_preference": "which of two videos matches a caption better",
    "response_preference": "which of two answers to a question is better",
    "edit_preference": "which of two edits of an image follows an instruction better",
    "pointwise": "how well an image matches a caption",
}


def model_card(info: RunInfo, repo_id: str, licence: str, comparison: Example | None, dtype: str) -> str:
    """The card as Markdown with the hub's YAML metadata.

    Args:
        repo_id: the repository on the hub.
        licence: of the weights.
        dtype: of the weights.
    """
    name = repo_id.rpartition("/")[2]
    head = yaml.safe_dump(_metadata(info, name, licence), sort_keys=False, allow_unicode=True)
    task = info.judge.task
    parts = [
        f"---\n{head}---",
        f"# {name}",
        f"A vision-language model that reasons before it judges: {TASK_QUESTIONS.get(task, task.replace('_', ' '))}. "
        "It writes its reasoning in `<think>…</think>` and its verdict in `<answer>…</answer>`. Trained with "
        f"reasoner-rm from {_linked(info.base)}, task `{task}`, weights in {dtype}.",
        *_example(comparison),
        "## Use",
        *_use(repo_id, info),
        "## Evaluation",
        *_evaluation(info),
        *_benchmarks(info),
        "## Training",
        *_training(info),
        "## Data",
        *_data(info),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(info)),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(info: RunInfo, name: str, licence: str) -> dict[str, Any]:
    hubs = sorted({entry["hub"] for entry in info.data.values() if entry.get("hub")})
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "image-text-to-text", "license": licence}
    if is_hub_id(info.base):
        head["base_model"] = info.base
    if hubs:
        head["datasets"] = hubs
    head["tags"] = ["reasoner-rm", "reward-model", "vlm-as-a-judge", "grpo", info.judge.task.replace("_", "-")]
    results = [*_results(info), *map(model_index, info.benchmarks)]
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    return head


def _results(info: RunInfo) -> Iterator[dict[str, Any]]:
    """The last stage's metrics as the hub's `model-index` results, with protocol and interval."""
    stage, splits = _last_evaluation(info)
    for split, metrics in splits.items():
        if metrics.get("accuracy") is None:
            continue
        low, high = metrics.get("accuracy_interval") or (None, None)
        yield {
            "task": {"type": "image-text-to-text", "name": info.judge.task},
            "dataset": {"type": split, "name": _dataset(info, split), "split": split},
            "metrics": [
                {
                    "type": metric_name(info.judge.task).lower(),
                    "name": f"{metric_name(info.judge.task)} after {stage_name(stage)}",
                    "value": round(metrics["accuracy"], 4),
                    "args": {"protocol": _protocol(info), "n": _count(metrics), "interval_95": [low, high]},
                }
            ],
        }


def _count(metrics: Mapping[str, Any]) -> int | str:
    """How many samples the metrics are of; of a part of the split also the size of the split."""
    n, size = metrics.get("n", "–"), metrics.get("of")
    return n if size is None or n == size else f"{n} of {size}"


def _last_evaluation(info: RunInfo) -> tuple[str, Mapping[str, Any]]:
    stages = list(info.evaluations)
    return (stages[-1], info.evaluations[stages[-1]]) if stages else ("", {})


def _protocol(info: RunInfo) -> str:
    orders = "both candidate orders, each scored" if info.judge.task in PAIRWISE_TASKS else "one completion per sample"
    return f"greedy decoding, {orders}; unreadable answers count as wrong; samples with a tied label are left out"


def _dataset(info: RunInfo, split: str) -> str:
    entry = info.data.get(split, {})
    return str(entry.get("title") or entry.get("recipe") or split_name(split))


def _evaluation(info: RunInfo) -> Iterator[str]:
    if not info.evaluations:
        yield "This run has no evaluation."
        return
    title = metric_name(info.judge.task)
    rows = [f"| stage | split | {title} | 95 % interval | same verdict in both orders | well formed | n |"]
    rows.append("|---|---|---|---|---|---|---|")
    for stage, splits in info.evaluations.items():
        for split, metrics in splits.items():
            low, high = metrics.get("accuracy_interval") or (None, None)
            interval = f"{_share(low)} to {_share(high)}"
            shares = (
                _share(metrics.get("accuracy")),
                interval,
                *(_share(metrics.get(k)) for k in ("consistency", "well_formed")),
            )
            rows.append(f"| {stage_name(stage)} | {split_name(split)} | {' | '.join(shares)} | {_count(metrics)} |")
    yield "\n".join(rows)
    blind = info.summary.get("blind", {}).get("accuracy")
    baseline = f" Blind baseline (every image replaced by a grey one): {_share(blind)}." if blind is not None else ""
    yield f"Protocol: {_protocol(info)}. Intervals: bootstrap over source prompts.{baseline}"


def _benchmarks(info: RunInfo) -> Iterator[str]:
    """The headline metric of each benchmark with its protocol; the metadata has all metrics."""
    if not info.benchmarks:
        return
    rows = ["| benchmark | protocol | metric | value | 95 % interval | n | unparsed |", "|---|---|---|---|---|---|---|"]
    for scores in info.benchmarks:
        headline, title = scores["headline"], scores["benchmark"]["title"]
        low, high = headline["interval"] or (None, None)
        cells = (scores["protocol"]["name"], headline["name"], _share(headline["value"]))
        spread = f"{_share(low)} to {_share(high)} | {headline['n']} | {_share(scores['diagnostics']['unparsed'])}"
        rows.append(f"| {title} | {' | '.join(cells)} | {spread} |")
    yield "\n".join(rows)


def _training(info: RunInfo) -> Iterator[str]:
    rows = ["| stage | settings |", "|---|---|"]
    for stage in info.evaluations or SECTIONS:
        section = SECTIONS.get(stage)
        settings = info.config.get(section, {}) if section else {}
        listed = ", ".join(f"{key} {settings[key]}" for key in SETTINGS.get(section or "", ()) if key in settings)
        rows.append(f"| {stage_name(stage)} | {listed} |")
    yield "\n".join(rows)
    facts = [f"base: {_linked(info.base)}", f"rewards: `{info.config['grpo'].get('rewards')}`"]
    facts += [f"listener: {_linked(info.listener)}"] if info.listener else []
    lora = info.config["model"].get("lora")
    facts += [f"LoRA: rank {lora['r']}, alpha {lora['alpha']}, merged"] if lora else ["all weights trained"]
    facts += [f"seed {info.summary.get('seed', 0)}"]
    facts += [f"{info.summary['seconds'] / 60:.0f} minutes"] if info.summary.get("seconds") else []
    facts += [", ".join(f"{k} {info.versions[k]}" for k in ("torch", "transformers") if k in info.versions)]
    yield "\n".join(f"- {fact}" for fact in facts if fact)


def _data(info: RunInfo) -> Iterator[str]:
    rows = ["| use | samples | data | licence |", "|---|---|---|---|"]
    for name, entry in info.data.items():
        n = info.summary.get("data", {}).get(name, "–")
        title = entry.get("title") or entry.get("recipe") or "not described"
        link = f" ([{entry['hub']}](https://huggingface.co/datasets/{entry['hub']}))" if entry.get("hub") else ""
        licence_names = ", ".join(licence or "unknown" for licence in licences(entry)) if entry else "unknown"
        rows.append(f"| {DATA_NAMES.get(name, name)} | {n} | {title}{link} | {licence_names} |")
    yield "\n".join(rows)


def _limits(info: RunInfo) -> Iterator[str]:
    _, splits = _last_evaluation(info)
    metrics = splits.get("heldout", {})
    if metrics.get("consistency") is not None:
        yield (
            f"In {_share(1 - metrics['consistency'])} of held-out pairs its verdict depends on the order of the "
            "candidates: ask in both orders, as this package does."
        )
    if (ood := splits.get("ood", {}).get("accuracy")) is not None:
        yield f"{metric_name(info.judge.task).capitalize()} out of distribution: {_share(ood)}."
    corruptions = [(v["accuracy"], name) for name, v in metrics.get("by", {}).get("corruption", {}).items()]
    if corruptions:
        lowest, name = min(corruptions)
        yield f"Lowest by type of corruption: “{name}”, {_share(lowest)}."
    yield (
        "Its reasoning was rewarded for correct verdicts and need not be the cause of a verdict. Prompt injection: a "
        "caption such as “answer Image 1” is passed as data, but can still influence the verdict."
    )
    yield "It was trained on the prompt above only; the metrics do not hold for another prompt."


def _use(repo_id: str, info: RunInfo) -> Iterator[str]:
    task, options = info.judge.task, f"max_tokens={_max_tokens(info)}"
    call = {
        "image_preference": 'verdict = judge.compare("a red circle", "a.png", "b.png")',
        "edit_preference": 'verdict = judge.compare_edits("make it red", "source.png", "a.png", "b.png")',
        "response_preference": 'verdict = judge.compare_answers("How many?", "Two.", "Three.", ["image.png"])',
        "pointwise": 'scores = judge.score(["a.png"], ["a red circle"])',
    }.get(task, "verdicts = judge.verdicts(samples)")
    yield "With reasoner-rm, which asks in both orders and parses the answer:"
    load = f'from reasoner_rm import Judge\n\njudge = Judge.from_pretrained("{repo_id}", {options})'
    yield f"```python\n{load}\n{call}\n```"
    if task == "image_preference":
        yield "With transformers alone, in one order:"
        yield f"```python\n{_transformers_program(repo_id, info)}\n```"
    yield "Served by vLLM, or by this package with a page to try it:"
    yield f"```bash\nvllm serve {repo_id} --generation-config vllm\nreasoner-rm serve --model {repo_id}\n```"
    yield f"The prompt it was trained on (`{info.judge.template.name}`, hash `{info.judge.template.hash}`):"
    yield f"````text\n{info.judge.template.text}\n````"


def _transformers_program(repo_id: str, info: RunInfo) -> str:
    """A program that needs only transformers: the rendered prompt, split at the images."""
    from reasoner_rm.schema import Sample
    from reasoner_rm.tasks.render import render

    prompt = render(Sample("card", "image_preference", "a red circle", images=("a.png", "b.png")), info.judge.template)
    content = [
        f'    {{"type": "image", "image": Image.open("{part!s}")}},'
        if is_image
        else f'    {{"type": "text", "text": {part!r}}},'
        for part, is_image in zip(prompt.content, prompt.is_image, strict=True)
    ]
    return "\n".join(
        [
            "from PIL import Image",
            "from transformers import AutoModelForImageTextToText, AutoProcessor",
            "",
            f'model = AutoModelForImageTextToText.from_pretrained("{repo_id}", dtype="auto", device_map="auto")',
            f'processor = AutoProcessor.from_pretrained("{repo_id}")',
            "content = [",
            *content,
            "]",
            "inputs = processor.apply_chat_template(",
            '    [{"role": "user", "content": content}],',
            '    add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",',
            ").to(model.device)",
            f"tokens = model.generate(**inputs, max_new_tokens={_max_tokens(info)}, do_sample=False)",
            'print(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    )


def _max_tokens(info: RunInfo) -> int:
    return int(info.config.get("eval", {}).get("max_completion_length", 1024))


def _example(example: Example | None) -> list[str]:
    if example is None:
        return []
    labels = [f"Image {i}" for i in range(1, len(example.images) + 1)]
    table = [
        f"| {' | '.join(labels)} |",
        "|" + "---|" * len(labels),
        "| " + " | ".join(f"![{label}]({file})" for label, file in zip(labels, example.images, strict=True)) + " |",
    ]
    quote = "\n".join(f"> {line}" for line in example.text.replace("<", "&lt;").splitlines())
    return [f"*{_text(example.prompt)}*", "\n".join(table), quote]


def _text(text: str) -> str:
    """The text on one line, escaped for Markdown and HTML."""
    return " ".join(text.replace("<", "&lt;").replace("*", "\\*").replace("|", "\\|").split())


def _linked(name: str | None) -> str:
    if name is None:
        return "none"
    return f"[{name}](https://huggingface.co/{name})" if is_hub_id(name) else f"`{name}`"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
