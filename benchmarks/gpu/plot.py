"""The figures of one run as a picture: python benchmarks/gpu/plot.py [FOLDER] docs/gpu.png"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
INK, MUTED, OURS, THEIRS = "#222", "#777", "#2a6fbb", "#c9ccd1"


def bars(axis: Axes, values: dict[str, float], template: str) -> None:
    """Horizontal bars, the project's own in colour, each with its value."""
    labels = list(values)[::-1]
    drawn = axis.barh(
        labels, [values[n] for n in labels], color=[OURS if n.startswith("ours") else THEIRS for n in labels]
    )
    axis.bar_label(drawn, fmt=template, padding=4, color=INK, fontsize=8.5)
    axis.set_xlim(0, 1.3 * max(values.values()))
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0, labelsize=8.5)


def main(folder: Path, out: Path) -> None:
    update, fused, attention, machine = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("update", "fused", "attention", "machine")
    )
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained", width_ratios=[4, 3, 3])
    names = {
        "ours, no checkpointing": "ours, no checkpointing",
        "ours": "ours",
        "PrefixGrouper's form": "PrefixGrouper's form",
        "repeated form": "repeated form",
        "TRL with our vision tower": "TRL, our vision tower",
        "TRL": "TRL",
    }
    bars(left, {label: update[name]["s"] for name, label in names.items()}, "%.2f s")
    left.set_title("Update of one group of 8, seconds", loc="left", fontsize=10)
    shares: dict[str, Any] = {
        "ours, checkpointing": update["8k: ours, checkpointing"],
        "ours": fused["layers: as they are"],
        "ours, Liger's norms, MLPs": fused["layers: liger"],
    }
    bars(middle, {name: 100 * figures["share of the bf16 peak"] for name, figures in shares.items()}, "%.1f %%")
    middle.set_title("Share of the bf16 peak at 8,500 tokens", loc="left", fontsize=10)
    for form, colour in (("ours", OURS), ("PrefixGrouper's form", MUTED)):
        groups = [int(name.split()[1]) for name in attention if name.startswith("3B") and name.endswith(f": {form}")]
        launches = [attention[n]["launches"] for n in attention if n.startswith("3B") and n.endswith(f": {form}")]
        right.plot(groups, launches, marker="o", color=colour, label=form)
        right.annotate(f"{form}: {launches[-1]:,}", (groups[-1], launches[-1]), xytext=(-6, 6), color=colour,
                       textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip
    right.set(yscale="log", xscale="log", xticks=[1, 8, 32], ylim=(10, 10_000), xlabel="groups in a row")
    right.set_xticklabels(["1", "8", "32"])
    right.minorticks_off()
    right.spines[["top", "right"]].set_visible(False)
    right.set_title("Kernel launches of a layer's attention", loc="left", fontsize=10)
    figure.suptitle(
        f"Qwen2.5-VL-3B's shape, bf16, frozen tower, on one {machine['device'][0]}", x=0.01, ha="left", fontsize=11
    )
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    *given, target = sys.argv[1:]
    main(Path(given[0]) if given else HERE.parent / "results" / "gpu", Path(target))
