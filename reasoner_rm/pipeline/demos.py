"""The small worlds: for each of their tasks a recipe, how much data it gets, and a form that takes a few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True, slots=True)
class DatasetSizes:
    """How many samples each file gets. ``drawings`` and ``cold_start_scans`` are the digits' alone: demonstrations
    come from few scans, so that the cold start learns to speak and to look, and leaves reading to be learnt."""

    cold_start: int
    train: int
    heldout: int = 300
    ood: int = 200
    cold_start_scans: int = 40
    drawings: int = 4


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One task of a world, from data to report.

    Args:
        recipe: the YAML that it runs.
        plan, quick: its data, and those of `--quick`.
        make: writes the data into a folder, by plan and seed.
        chance: the accuracy of guessing, where it is the same for every sample.
    """

    recipe: Path
    plan: DatasetSizes
    quick: DatasetSizes
    quick_overrides: tuple[str, ...]
    make: Callable[[Path, DatasetSizes, int], None]
    chance: float | None = None


def _digits(folder: Path, plan: DatasetSizes, seed: int) -> None:
    from data_recipes import digits

    task = "image_preference"
    few, many = {"limit": plan.cold_start_scans}, {"drawings": plan.drawings}
    digits.build(folder, "train", task, plan.cold_start, seed, name="cold_start", **few, **many)
    digits.build(folder, "train", task, plan.train, seed + 1, name="train", **many)
    digits.build(folder, "heldout", task, plan.heldout, seed, name="heldout")
    digits.build(folder, "ood", task, plan.ood, seed, name="ood")


def _shapes(task: str) -> Callable[[Path, DatasetSizes, int], None]:
    """Six voters, none of them sure: some labels are soft, some votes tie, and a few go to the wrong image.

    Scenes of up to three things; a model of this size hardly tells the third level's nine places apart.
    """

    def make(folder: Path, plan: DatasetSizes, seed: int) -> None:
        from data_recipes import pocket

        setting = pocket.Setting(levels=(1, 2), voters=6, noise=0.3)
        pocket.build(folder, "train", task, plan.cold_start, seed, name="cold_start", setting=setting)
        pocket.build(folder, "train", task, plan.train, seed + 1000, name="train", setting=setting)
        pocket.build(folder, "heldout", task, plan.heldout, seed, name="heldout", setting=setting)
        pocket.build(folder, "ood", task, plan.ood, seed, name="ood", setting=setting)

    return make


DIGITS = DemoTask(
    recipe=RECIPES / "digits.yaml",
    plan=DatasetSizes(cold_start=480, train=1600),
    quick=DatasetSizes(cold_start=480, train=320, heldout=80, ood=40),
    quick_overrides=(
        "sft.max_steps=110",
        "rejection_sampling.sft.max_steps=10",
        "rejection_sampling.sft.learning_rate=2e-4",
        "grpo.max_steps=12",
        "grpo.log_rollouts_every=4",
    ),
    make=_digits,
    chance=0.5,
)


def _course(name: str, task: str, *, chance: float | None = None) -> DemoTask:
    return DemoTask(
        recipe=RECIPES / f"shapes-{name}.yaml",
        plan=DatasetSizes(cold_start=1000, train=1600),
        quick=DatasetSizes(cold_start=600, train=320, heldout=80, ood=40),
        quick_overrides=(
            "sft.max_steps=100",
            "rejection_sampling.sft.max_steps=10",
            "grpo.max_steps=12",
            "grpo.log_rollouts_every=4",
        ),
        make=_shapes(task),
        chance=chance,
    )


WORLDS: dict[str, dict[str, DemoTask]] = {
    "shapes": {
        "preference": _course("preference", "image_preference", chance=0.5),
        "caption_critic": _course("caption_critic", "caption_critic"),
        "detection": _course("detection", "detection"),
        "qa": _course("qa", "qa"),
    },
    "digits": {"preference": DIGITS},
}
