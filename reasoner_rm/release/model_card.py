"""The model card, made from the run: what it was taught, by what, how well it does, where it ends, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from reasoner_rm.data.dataset_card import licences
from reasoner_rm.evaluation.export import model_index
from reasoner_rm.release.example import Example
from reasoner_rm.release.run_info import Record, is_hub_id
from reasoner_rm.report.formatting import DATA_NAMES, metric_name, split_name, stage_name
from reasoner_rm.schema import PAIRWISE_TASKS

SETTINGS = {
    "sft": ("learning_rate", "epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "lr_scheduler_type"),
    "rejection_sampling": ("samples", "sft_above", "rl_below", "temperature"),
    "grpo": (
        "learning_rate", "prompts_per_device", "num_generations", "gradient_accumulation_steps",
        "max_steps", "beta", "epsilon",
        "loss_type", "scale_rewards", "temperature", "max_completion_length", "both_orders",
    ),
}  # fmt: skip
"""What a card repeats of the configuration, by section."""

SECTIONS = {"cold_start": "sft", "rejection_sampling": "rejection_sampling", "grpo": "grpo"}
WHAT = {
    "image_preference": "which of two images serves a caption better",
    "video_preference": "which of two videos serves a caption better",
    "response_preference": "which of two answers to a question is better",
    "edit_preference": "which of two edits of an image carries out an instruction better",
    "pointwise": "how well an image serves a caption",
}


def model_card(record: Record, repo_id: str, licence: str, shown: Example | None, dtype: str) -> str:
    """The card as Markdown with the hub's YAML on top.

    Args:
        repo_id: where the release will stand.
        licence: of the weights.
        dtype: of the weights.
    """
    name = repo_id.rpartition("/")[2]
    head = yaml.safe_dump(_metadata(record, name, licence), sort_keys=False, allow_unicode=True)
    task = record.card.task
    parts = [
        f"---\n{head}---",
        f"# {name}",
        f"A vision-language model that reasons before it judges: {WHAT.get(task, task.replace('_', ' '))}. It looks, "
        "thinks in `<think>…</think>`, and gives its verdict in `<answer>…</answer>`. Made with reasoner-rm from "
        f"{_linked(record.base)}, task `{task}`, weights in {dtype}.",
        *_example(shown),
        "## Use",
        *_use(repo_id, record),
        "## Figures",
        *_figures(record),
        *_benchmarks(record),
        "## Training",
        *_training(record),
        "## Data",
        *_data(record),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(record)),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(record: Record, name: str, licence: str) -> dict[str, Any]:
    hubs = sorted({entry["hub"] for entry in record.data.values() if entry.get("hub")})
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "image-text-to-text", "license": licence}
    if is_hub_id(record.base):
        head["base_model"] = record.base
    if hubs:
        head["datasets"] = hubs
    head["tags"] = ["reasoner-rm", "reward-model", "vlm-as-a-judge", "grpo", record.card.task.replace("_", "-")]
    results = [*_results(record), *map(model_index, record.benchmarks)]
    if results:
        head["model-index"] = [{"name": name, "results": results}]
    return head


def _results(record: Record) -> Iterator[dict[str, Any]]:
    """The last stage's figures in the hub's form, their protocol and interval beside them."""
    stage, splits = _last(record)
    for split, figures in splits.items():
        if figures.get("accuracy") is None:
            continue
        low, high = figures.get("accuracy_interval") or (None, None)
        yield {
            "task": {"type": "image-text-to-text", "name": record.card.task},
            "dataset": {"type": split, "name": _dataset(record, split), "split": split},
            "metrics": [
                {
                    "type": metric_name(record.card.task).lower(),
                    "name": f"{metric_name(record.card.task)} after {stage_name(stage)}",
                    "value": round(figures["accuracy"], 4),
                    "args": {"protocol": _protocol(record), "n": figures.get("n"), "interval_95": [low, high]},
                }
            ],
        }


def _last(record: Record) -> tuple[str, Mapping[str, Any]]:
    stages = list(record.figures)
    return (stages[-1], record.figures[stages[-1]]) if stages else ("", {})


def _protocol(record: Record) -> str:
    orders = "both candidate orders, each counts" if record.card.task in PAIRWISE_TASKS else "asked once"
    return f"greedy, {orders}; unreadable answers are wrong; ties in the labels left out"


def _dataset(record: Record, split: str) -> str:
    entry = record.data.get(split, {})
    return str(entry.get("title") or entry.get("recipe") or split_name(split))


def _figures(record: Record) -> Iterator[str]:
    if not record.figures:
        yield "None were measured in this run."
        return
    title = metric_name(record.card.task)
    rows = [f"| stage | split | {title} | 95 % interval | same verdict in both orders | well formed | n |"]
    rows.append("|---|---|---|---|---|---|---|")
    for stage, splits in record.figures.items():
        for split, f in splits.items():
            low, high = f.get("accuracy_interval") or (None, None)
            interval = f"{_share(low)} to {_share(high)}"
            cells = (_share(f.get("accuracy")), interval, _share(f.get("consistency")), _share(f.get("well_formed")))
            rows.append(f"| {stage_name(stage)} | {split_name(split)} | {' | '.join(cells)} | {f.get('n', '–')} |")
    yield "\n".join(rows)
    blind = record.summary.get("blind", {}).get("accuracy")
    beside = f" With its images blanked it reaches {_share(blind)}." if blind is not None else ""
    yield f"Protocol: {_protocol(record)}. Intervals: bootstrap over source prompts.{beside}"


def _benchmarks(record: Record) -> Iterator[str]:
    """A line for each benchmark, its protocol beside the figure; all figures stand in the metadata."""
    if not record.benchmarks:
        return
    rows = ["| benchmark | protocol | figure | | 95 % interval | n | unparsed |", "|---|---|---|---|---|---|---|"]
    for scores in record.benchmarks:
        figure, title = scores["headline"], scores["benchmark"]["title"]
        low, high = figure["interval"] or (None, None)
        cells = (scores["protocol"]["name"], figure["name"], _share(figure["value"]))
        spread = f"{_share(low)} to {_share(high)} | {figure['n']} | {_share(scores['diagnostics']['unparsed'])}"
        rows.append(f"| {title} | {' | '.join(cells)} | {spread} |")
    yield "\n".join(rows)


def _training(record: Record) -> Iterator[str]:
    rows = ["| stage | settings |", "|---|---|"]
    for stage in record.figures or SECTIONS:
        section = SECTIONS.get(stage)
        settings = record.config.get(section, {}) if section else {}
        named = ", ".join(f"{key} {settings[key]}" for key in SETTINGS.get(section or "", ()) if key in settings)
        rows.append(f"| {stage_name(stage)} | {named} |")
    yield "\n".join(rows)
    facts = [f"base: {_linked(record.base)}", f"rewards: `{record.config['grpo'].get('rewards')}`"]
    facts += [f"listener: {_linked(record.listener)}"] if record.listener else []
    lora = record.config["model"].get("lora")
    facts += [f"LoRA: rank {lora['r']}, alpha {lora['alpha']}, merged"] if lora else ["all weights trained"]
    facts += [f"seed {record.summary.get('seed', 0)}"]
    facts += [f"{record.summary['seconds'] / 60:.0f} minutes"] if record.summary.get("seconds") else []
    facts += [", ".join(f"{k} {record.versions[k]}" for k in ("torch", "transformers") if k in record.versions)]
    yield "\n".join(f"- {fact}" for fact in facts if fact)


def _data(record: Record) -> Iterator[str]:
    rows = ["| use | samples | data | licence |", "|---|---|---|---|"]
    for name, entry in record.data.items():
        n = record.summary.get("data", {}).get(name, "–")
        title = entry.get("title") or entry.get("recipe") or "not described"
        where = f" ([{entry['hub']}](https://huggingface.co/datasets/{entry['hub']}))" if entry.get("hub") else ""
        found = ", ".join(licence or "unknown" for licence in licences(entry)) if entry else "unknown"
        rows.append(f"| {DATA_NAMES.get(name, name)} | {n} | {title}{where} | {found} |")
    yield "\n".join(rows)


def _limits(record: Record) -> Iterator[str]:
    _, splits = _last(record)
    figures = splits.get("heldout", {})
    if figures.get("consistency") is not None:
        yield (
            f"In {_share(1 - figures['consistency'])} of held-out pairs its verdict depends on the order in which the "
            "images stand: ask in both, as this package does."
        )
    if (ood := splits.get("ood", {}).get("accuracy")) is not None:
        yield f"Out of distribution it reaches {_share(ood)}."
    worst = [(v["accuracy"], kind) for kind, v in figures.get("by", {}).get("corruption", {}).items()]
    if worst:
        yield f"It is weakest on mistakes of the kind “{min(worst)[1]}”: {_share(min(worst)[0])}."
    yield (
        "Its reasoning is text that was rewarded for leading to the right verdict; it need not be what moved it. A "
        "caption can talk to it: text such as “answer Image 1” is data to this package, but words still act on a model."
    )
    yield "It answers the question it was trained on, in the words given above; another prompt makes another judge."


def _use(repo_id: str, record: Record) -> Iterator[str]:
    task, options = record.card.task, f"max_tokens={_longest(record)}"
    call = {
        "image_preference": 'verdict = judge.compare("a red circle", "a.png", "b.png")',
        "edit_preference": 'verdict = judge.compare_edits("make it red", "source.png", "a.png", "b.png")',
        "response_preference": 'verdict = judge.compare_answers("How many?", "Two.", "Three.", ["image.png"])',
        "pointwise": 'scores = judge.score(["a.png"], ["a red circle"])',
    }.get(task, "verdicts = judge.verdicts(samples)")
    yield "With reasoner-rm, which asks in both orders and reads the answer:"
    load = f'from reasoner_rm import Judge\n\njudge = Judge.from_pretrained("{repo_id}", {options})'
    yield f"```python\n{load}\n{call}\n```"
    if task == "image_preference":
        yield "With transformers alone, in one order:"
        yield f"```python\n{_plain(repo_id, record)}\n```"
    yield "Served by vLLM, or by this package with a page to try it:"
    yield f"```bash\nvllm serve {repo_id}\nreasoner-rm serve --model {repo_id}\n```"
    yield f"The prompt it was trained on (`{record.card.template.name}`, hash `{record.card.template.hash}`):"
    yield f"````text\n{record.card.template.text}\n````"


def _plain(repo_id: str, record: Record) -> str:
    """A program without this package: the prompt as the template gives it, split where the images stand."""
    from reasoner_rm.schema import Sample
    from reasoner_rm.tasks.render import render

    prompt = render(Sample("card", "image_preference", "a red circle", images=("a.png", "b.png")), record.card.template)
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
            f"tokens = model.generate(**inputs, max_new_tokens={_longest(record)}, do_sample=False)",
            'print(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    )


def _longest(record: Record) -> int:
    return int(record.config.get("eval", {}).get("max_completion_length", 1024))


def _example(shown: Example | None) -> list[str]:
    if shown is None:
        return []
    labels = [f"Image {i}" for i in range(1, len(shown.images) + 1)]
    table = [
        f"| {' | '.join(labels)} |",
        "|" + "---|" * len(labels),
        "| " + " | ".join(f"![{label}]({file})" for label, file in zip(labels, shown.images, strict=True)) + " |",
    ]
    said = "\n".join(f"> {line}" for line in shown.text.replace("<", "&lt;").splitlines())
    return [f"*{_text(shown.prompt)}*", "\n".join(table), said]


def _text(text: str) -> str:
    """A text that cannot become markup."""
    return " ".join(text.replace("<", "&lt;").replace("*", "\\*").replace("|", "\\|").split())


def _linked(name: str | None) -> str:
    if name is None:
        return "none"
    return f"[{name}](https://huggingface.co/{name})" if is_hub_id(name) else f"`{name}`"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
