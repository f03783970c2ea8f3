"""Writing a release folder: merged weights, processor, chat template, judge configuration, model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner_rm.errors import InputError
from reasoner_rm.models.families import VISUAL_TOKENS
from reasoner_rm.models.judge_checkpoint import FILE, load_judge_config
from reasoner_rm.models.pretrained import load_config, load_weights
from reasoner_rm.release.example import example
from reasoner_rm.release.model_card import model_card
from reasoner_rm.release.run_info import RunInfo, read_run_info
from reasoner_rm.utils.files import atomic_folder, atomic_write, link_or_copy
from reasoner_rm.utils.parse_files import read_json

ADAPTER = "adapter_config.json"
DAMAGED = "the trained judge is damaged: train its last stage again"
RELEASED_FILES = (
    "config.json", "generation_config.json", "chat_template.jinja", "processor_config.json",
    "preprocessor_config.json", "video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "model.safetensors.index.json",
    "calibration.json", "calibration.png", FILE,
)  # fmt: skip
KEPT_GENERATION_SETTINGS = ("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version")
"""What a release keeps of its base's `generation_config.json`. Qwen's sets a temperature, top-p, top-k and a repetition
penalty, which are another policy than the one that was trained and evaluated."""
REQUIRED_FILES = ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json", FILE)


@dataclass(frozen=True, slots=True)
class Release:
    """A complete release folder, and the run that it was made from."""

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
    """Write the release folder of a run. It is written under a temporary name and renamed when it is complete.

    Args:
        licence: of the weights, as the hub spells it.
        pictures: show a held-out comparison in the card; its images are copied.
        results: result folders of `eval` on benchmarks, whose metrics the card shows.

    Raises:
        InputError: not a run with a trained judge; results of another judge; ``out`` exists and is not a release.
    """
    final = run / "final"
    if not (final / FILE).is_file():
        raise InputError("no trained judge in this directory", file=run, remedy="give the directory of a finished run")
    if out.exists() and any(out.iterdir()) and not (out / FILE).is_file():
        raise InputError("the folder exists and is not a release", file=out, remedy="give another with --out")
    load_judge_config(final)  # raises if the template was changed after training
    info = read_run_info(run, results)
    with atomic_folder(out) as staging:
        if (final / ADAPTER).is_file():
            _merge(final, staging)
        _copy(final, staging)
        _write_generation_config(staging)
        _write_judge_config(staging, info)
        comparison = example(info, staging) if pictures else None
        with atomic_write(staging / "README.md") as file:
            file.write(model_card(info, repo_id, licence, comparison, _dtype(staging)))
        _check_complete(staging)
    return Release(out, run)


def _copy(final: Path, out: Path) -> None:
    for file in sorted(final.iterdir()):
        weights = file.suffix == ".safetensors" and not file.name.startswith("adapter")
        if (weights or file.name in RELEASED_FILES) and not (out / file.name).exists():
            (link_or_copy if weights else shutil.copyfile)(file, out / file.name)


def _merge(final: Path, out: Path) -> None:
    """Merge LoRA weights into the base model, in the base model's dtype."""
    from peft import PeftModel

    base = str(read_json(final / ADAPTER, DAMAGED).get("base_model_name_or_path"))
    try:
        model = load_weights(base, dtype="auto")
        merged = PeftModel.from_pretrained(model, str(final)).merge_and_unload()
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot merge the adapter into {base!r} ({reason})", file=final) from None
    merged.save_pretrained(out)


def _write_generation_config(out: Path) -> None:
    """Make plain `generate()` the policy that was trained: greedy, without the base model's penalties and truncations,
    and without visual placeholder tokens, which cannot be processed."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    visual = [tokenizer.token_to_id(token) for token in VISUAL_TOKENS]
    vocab_size = load_config(str(out)).get_text_config().vocab_size
    unused = range(tokenizer.get_vocab_size(), vocab_size)
    file = out / "generation_config.json"
    base = read_json(file, DAMAGED)
    config = {key: base[key] for key in KEPT_GENERATION_SETTINGS if key in base}
    config |= {"do_sample": False, "suppress_tokens": [*(t for t in visual if t is not None), *unused]}
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _write_judge_config(out: Path, info: RunInfo) -> None:
    """Replace local paths in the judge's configuration by their public names."""
    row = read_json(out / FILE, DAMAGED)
    row["listener"] = info.listener
    with atomic_write(out / FILE) as file:
        json.dump(row, file, indent=1, ensure_ascii=False)


def _dtype(folder: Path) -> str:
    config = read_json(folder / "config.json", DAMAGED)
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def _check_complete(folder: Path) -> None:
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing or not list(folder.glob("*.safetensors")):
        raise InputError(
            f"the release lacks {', '.join(missing) or 'weights'}", file=folder, remedy="train the run again"
        )
