"""The folder that is released: whole weights, processor, chat template, how the judge is asked, its model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasoner_rm.errors import InputError
from reasoner_rm.models.families import VISUAL_TOKENS
from reasoner_rm.models.judge_checkpoint import FILE, load_card
from reasoner_rm.release.example import example
from reasoner_rm.release.model_card import model_card
from reasoner_rm.release.run_info import Record, read_record
from reasoner_rm.utils.files import atomic_write

ADAPTER = "adapter_config.json"
KEPT = (
    "config.json", "generation_config.json", "chat_template.jinja", "processor_config.json",
    "preprocessor_config.json", "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "model.safetensors.index.json",
    "calibration.json", "calibration.png", FILE,
)  # fmt: skip
NEEDED = ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json", FILE)


@dataclass(frozen=True, slots=True)
class Release:
    """A folder that is ready, and the run it is made from."""

    folder: Path
    run: Path


def prepare(
    run: Path,
    out: Path,
    repo_id: str,
    licence: str = "other",
    pictures: bool = True,
    results: Sequence[Path] = (),
) -> Release:
    """Write the release of a run beside its final place and rename it there.

    Args:
        licence: of the weights, as the hub writes it.
        pictures: show a held-out comparison; its images are copied.
        results: what `eval` wrote about the run's judge on benchmarks; their figures stand in the card.

    Raises:
        InputError: no run or no trained judge there; results of another judge; a folder in the way that is no release.
    """
    final = run / "final"
    if not (final / FILE).is_file():
        raise InputError("no trained judge there", file=run, remedy="give the folder of a finished run")
    if out.exists() and any(out.iterdir()) and not (out / FILE).is_file():
        raise InputError("in the way, and no release", file=out, remedy="name another with --out")
    load_card(final)  # a template that was changed after training shows here
    record = read_record(run, results)
    beside = out.with_name(f".{out.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    if (final / ADAPTER).is_file():
        _merge(final, beside)
    _copy(final, beside)
    _ban_placeholders(beside)
    _write_asked(beside, record)
    shown = example(record, beside) if pictures else None
    with atomic_write(beside / "README.md") as file:
        file.write(model_card(record, repo_id, licence, shown, _dtype(beside)))
    _check_whole(beside)
    if out.exists():
        shutil.rmtree(out)
    beside.rename(out)
    return Release(out, run)


def _copy(final: Path, out: Path) -> None:
    for file in sorted(final.iterdir()):
        weights = file.suffix == ".safetensors" and not file.name.startswith("adapter")
        if (weights or file.name in KEPT) and not (out / file.name).exists():
            shutil.copyfile(file, out / file.name)


def _merge(final: Path, out: Path) -> None:
    """Add LoRA weights to the base they were trained on, in its own precision."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = json.loads((final / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    try:
        model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
        PeftModel.from_pretrained(model, str(final)).merge_and_unload().save_pretrained(out)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot merge the adapter into {base!r} ({reason})", file=final) from None


def _ban_placeholders(out: Path) -> None:
    """`generate()` of plain transformers must not sample visual tokens either: one of them breaks the next pass."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    known = [tokenizer.token_to_id(token) for token in VISUAL_TOKENS]
    rows = AutoConfig.from_pretrained(out).get_text_config().vocab_size
    unowned = range(tokenizer.get_vocab_size(), rows)
    file = out / "generation_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["suppress_tokens"] = [*(token for token in known if token is not None), *unowned]
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_asked(out: Path, record: Record) -> None:
    """The judge's card, without paths of the machine it was trained on."""
    row: dict[str, Any] = json.loads((out / FILE).read_text(encoding="utf-8"))
    row["listener"] = record.listener
    with atomic_write(out / FILE) as file:
        json.dump(row, file, indent=1, ensure_ascii=False)


def _dtype(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _check_whole(folder: Path) -> None:
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing or not list(folder.glob("*.safetensors")):
        raise InputError(f"the release lacks {', '.join(missing) or 'weights'}", file=folder, remedy="train it again")
