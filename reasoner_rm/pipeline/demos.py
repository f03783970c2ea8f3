"""The pocket demos: for each world and task a recipe, the sizes of its data, and a quick variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).with_name("recipes")


@dataclass(frozen=True, slots=True)
class DatasetSizes:
    """The number of samples per file.

    ``drawings`` and ``cold_start_scans`` are for the digits only: the cold start uses few scans, so that it teaches the
    format of the reasoning and leaves the recognition of digits to RL.
    """

    cold_start: int
    train: int
    heldout: int = 300
    ood: int = 200
    cold_start_scans: int = 40
    drawings: int = 4


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One task of a world.

    Args:
        recipe: the configuration, a YAML file.
        sizes, quick_sizes: of the data, and of that for `--quick`.
        quick_overrides: settings for `--quick`.
        build: writes the data into a folder, from sizes and seed.
        chance: the accuracy of a random guess, if it is the same for every sample.
    """

    recipe: Path
    sizes: DatasetSizes
    quick_sizes: DatasetSizes
    quick_overrides: tuple[str, ...]
    build: Callable[[Path, DatasetSizes, int], None]
    chance: float | None = None


def _build_digits(folder: Path, sizes: DatasetSizes, seed: int) -> None:
    from data_recipes import digits

    task = "image_preference"
    drawings = sizes.drawings
    digits.build(
        folder,
        "train",
        task,
        sizes.cold_start,
        seed,
        name="cold_start",
        limit=sizes.cold_start_scans,
        drawings=drawings,
    )
    digits.build(folder, "train", task, sizes.train, seed + 1, name="train", drawings=drawings)
    digits.build(folder, "heldout", task, sizes.heldout, seed, name="heldout")
    digits.build(folder, "ood", task, sizes.ood, seed, name="ood")


def _shapes_builder(task: str) -> Callable[[Path, DatasetSizes, int], None]:
    """A function that builds the shapes data of a task.

    Six noisy voters: some labels are soft, some are ties, a few are wrong. Levels 1 and 2 only (up to three objects): a
    model of this size hardly distinguishes the nine positions of level 3.
    """

    def build(folder: Path, sizes: DatasetSizes, seed: int) -> None:
        from data_recipes import pocket

        setting = pocket.Setting(levels=(1, 2), voters=6, noise=0.3)
        pocket.build(folder, "train", task, sizes.cold_start, seed, name="cold_start", setting=setting)
        pocket.build(folder, "train", task, sizes.train, seed + 1000, name="train", setting=setting)
        pocket.build(folder, "heldout", task, sizes.heldout, seed, name="heldout", setting=setting)
        pocket.build(folder, "ood", task, sizes.ood, seed, name="ood", setting=setting)

    return build


DIGITS = DemoTask(
    recipe=RECIPES / "digits.yaml",
    sizes=DatasetSizes(cold_start=480, train=1600),
    quick_sizes=DatasetSizes(cold_start=480, train=320, heldout=80, ood=40),
    quick_overrides=(
        "sft.max_steps=110",
        "rejection_sampling.sft.max_steps=10",
        "rejection_sampling.sft.learning_rate=2e-4",
        "grpo.max_steps=12",
        "grpo.log_rollouts_every=4",
    ),
    build=_build_digits,
    chance=0.5,
)


def _shapes_task(name: str, task: str, *, chance: float | None = None) -> DemoTask:
    return DemoTask(
        recipe=RECIPES / f"shapes-{name}.yaml",
        sizes=DatasetSizes(cold_start=1000, train=1600),
        quick_sizes=DatasetSizes(cold_start=600, train=320, heldout=80, ood=40),
        quick_overrides=(
            "sft.max_steps=100",
            "rejection_sampling.sft.max_steps=10",
            "grpo.max_steps=12",
            "grpo.log_rollouts_every=4",
        ),
        build=_shapes_builder(task),
        chance=chance,
    )


WORLDS: dict[str, dict[str, DemoTask]] = {
    "shapes": {
        "preference": _shapes_task("preference", "image_preference", chance=0.5),
        "caption_critic": _shapes_task("caption_critic", "caption_critic"),
        "detection": _shapes_task("detection", "detection"),
        "qa": _shapes_task("qa", "qa"),
    },
    "digits": {"preference": DIGITS},
}
