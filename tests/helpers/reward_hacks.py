"""Known ways to be paid without being right, beside what an honest answer gets; and the library as a table.

`python tests/helpers/reward_hacks.py` prints the tables of docs/rewards.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reasoner_rm.listener.reasoning_text import extract_reasoning
from reasoner_rm.rewards import REWARDS, score
from reasoner_rm.schema import Belief, RewardContext, Sample

CUBES = [{"bbox_2d": [100 * i, 0, 100 * i + 80, 80], "label": "cube"} for i in range(3)]
GRID = [{"bbox_2d": [40 * x, 40 * y, 40 * x + 80, 40 * y + 80], "label": "cube"} for y in range(10) for x in range(20)]
"""Boxes over the whole image, 200 of them; some lie on a cube."""

DETECTION = Sample("d", "detection", "cube", ("x",), gold={"boxes": CUBES})
ONE = Sample("r", "grounding", "it", ("x",), gold={"boxes": CUBES[:1]})
EMPTY = Sample("e", "detection", "cube", ("x",), gold={"boxes": []})
PAIR = Sample("p", "image_preference", "a 7", ("x", "y"), gold={"p_first": 1.0})
WRONG = Sample("w", "image_preference", "a 7", ("x", "y"), gold={"p_first": 0.0})
CAPTION = Sample(
    "c", "caption_critic", "A cat sleeps on a wooden chair beside a red sign, while two birds watch it.", ("x",),
    gold={"original": "plastic chair", "changed": "wooden chair"},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hack:
    """A hack against one reward. ``pays`` marks those that succeed: released forms, and what a paper left open."""

    name: str
    reward: str
    sample: Sample
    honest: str
    hacked: str
    params: Mapping[str, Any] = field(default_factory=dict)
    pays: bool = False
    strip: bool | None = None
    """Whether the listener strips verdicts; None: there is no listener in it."""

    def scores(self) -> tuple[float, float]:
        """What the honest answer gets, and what the hack gets."""
        return self._score(self.honest), self._score(self.hacked)

    def _score(self, text: str) -> float:
        context = None if self.strip is None else RewardContext(beliefs=(_gullible(text, self.strip),))
        total = score(self.reward, text, self.sample, context, **self.params)["total"]
        assert total is not None
        return total


def _gullible(text: str, strip: bool) -> Belief | None:
    """A listener that looks at nothing: it believes any verdict that it hears, and a description a little."""
    said = extract_reasoning(text, strip)
    if said is None:
        return None
    first = 0.95 if "is 1" in said or "1 is better" in said else 0.75 if REASONED in said else 0.5
    return Belief(("1", "2"), (first, 1 - first), 1.0)


def turn(answer: str, thought: str = "I look.") -> str:
    return f"<think>{thought}</think>\n<answer>{answer}</answer>"


def boxes(items: list[dict[str, Any]]) -> str:
    return turn(json.dumps(items))


FIRST, SECOND = "Image 1 is better", "Image 2 is better"
REASONED = "Image 1 shows a 7 and Image 2 a 3."
FOUND = boxes(CUBES[:2])  # an honest policy that misses one
GREEDY = boxes(CUBES[:2] + GRID[:198])
BARE, BARE_GREEDY = json.dumps(CUBES[:2]), json.dumps(CUBES[:2] + GRID[:198])
PHRASE = "<think>No.</think>\\boxed{wooden chair}"
COPIED = f"<think>No.</think>\\boxed{{{CAPTION.prompt}}}"

HACKS = (
    Hack("boxes everywhere", "accuracy", DETECTION, FOUND, GREEDY),
    Hack("boxes everywhere", "od_length", DETECTION, FOUND, GREEDY),
    Hack("boxes everywhere", "od_map", DETECTION, FOUND, GREEDY, pays=True),
    Hack("boxes everywhere", "od_map50", DETECTION, FOUND, GREEDY, pays=True),
    Hack("boxes everywhere", "od_weighted_sum", DETECTION, FOUND, GREEDY, pays=True),
    Hack("boxes everywhere", "vision_r1", DETECTION, BARE, BARE_GREEDY),
    Hack("boxes everywhere", "vision_r1", DETECTION, BARE, BARE_GREEDY, {"over": "matched"}, pays=True),
    Hack("boxes everywhere", "vision_r1_det_released", DETECTION, BARE, BARE_GREEDY, pays=True),
    Hack("babble where nothing is", "vision_r1", EMPTY, "[]", "there are none, I think"),
    Hack("babble where nothing is", "dual_format_released", EMPTY, "[]", "cube cube", pays=True),
    Hack("babble where nothing is", "od_length", EMPTY, turn("None"), turn("cube cube")),
    Hack("babble where nothing is", "od_length_released", EMPTY, turn("None"), turn("cube cube"), pays=True),
    Hack("two boxes for one thing", "rec_iou", ONE, boxes(CUBES[:1]), boxes(CUBES[:2])),
    Hack("two boxes for one thing", "rec_iou_released", ONE, boxes(CUBES[:1]), boxes(CUBES[:2]), pays=True),
    Hack("whole caption copied", "vicrit", CAPTION, PHRASE, COPIED),
    Hack("whole caption copied", "vicrit_released", CAPTION, PHRASE, COPIED, pays=True),
    Hack("both verdicts named", "unified_think", PAIR, turn(FIRST), turn(f"{FIRST}. {SECOND}")),
    Hack("both verdicts named", "unified_think", PAIR, turn(FIRST), turn(FIRST) + turn(SECOND)),
    Hack("both verdicts named", "unified_think_released", PAIR, turn(FIRST), turn(FIRST) + turn(SECOND), pays=True),
    Hack("answer in the thought alone", "unified_think", PAIR, turn(FIRST), f"<think>{FIRST}</think>"),
    Hack("answer in the thought alone", "hard", PAIR, turn(FIRST), f"<think><answer>{FIRST}</answer></think>"),
    Hack("bare verdict", "unified_think", PAIR, turn(FIRST), FIRST),
    Hack("bare verdict", "unified_think_released", PAIR, turn(FIRST), FIRST),
    Hack("verdict repeated", "format", PAIR, turn(FIRST), turn(FIRST) + f"<answer>{FIRST}</answer>" * 5),
    Hack("verdict repeated", "hard", PAIR, turn(FIRST), turn(FIRST) + f"<answer>{FIRST}</answer>" * 5),
    Hack("verdict repeated", "degenerate", PAIR, turn(FIRST), turn(FIRST, f"{FIRST}. " * 30)),
    Hack("empty thought", "format", PAIR, turn(FIRST), turn(FIRST, "")),
    Hack("empty thought", "unified_think", PAIR, turn(FIRST), turn(FIRST, " \n ")),
    Hack("empty thought", "listener", PAIR, turn(FIRST, REASONED), turn(FIRST, ""), strip=True),
    Hack("tags inside a code fence", "format", PAIR, turn(FIRST), f"```\n{turn(FIRST)}\n```"),
    Hack("tags inside a code fence", "hard", PAIR, turn(FIRST), f"```\n{turn(FIRST)}\n```"),
    Hack("tags inside a code fence", "format", PAIR, turn(FIRST), f"```\n{turn(FIRST)}\n```", {"mode": "search"},
         pays=True),
    Hack("listener told the verdict", "listener", PAIR, turn(FIRST, REASONED), turn(FIRST, "The answer is 1."),
         pays=True, strip=False),
    Hack("listener told the verdict", "listener", PAIR, turn(FIRST, REASONED), turn(FIRST, "The answer is 1."),
         strip=True),
    Hack("listener told the verdict", "r1_reward", WRONG, turn(SECOND, REASONED), turn(FIRST, "The answer is 1."),
         strip=False),
    Hack("scores that do not add up", "score_arithmetic", PAIR,
         turn(FIRST, "Image 1 (9/10) Image 2 (7/10) Image 1: 9 Image 2: 7"),
         turn(FIRST, "Image 1 (9/10) Image 2 (9/10) Image 1: 40 Image 2: 7")),
)  # fmt: skip


def table() -> str:
    """The table as Markdown."""
    lines = ["| hack | reward | honest | hacked | |", "|---|---|---|---|---|"]
    for hack in HACKS:
        given = [f"{name}={value}" for name, value in hack.params.items()]
        if hack.strip is not None:
            given.append("verdicts stripped" if hack.strip else "verdicts heard")
        name = f"`{hack.reward}`" + (f" ({', '.join(given)})" if given else "")
        honest, hacked = hack.scores()
        lines.append(f"| {hack.name} | {name} | {honest:.3f} | {hacked:.3f} | {'**pays**' if hack.pays else ''} |")
    return "\n".join(lines)


def library() -> str:
    """Every reward, from its own docstring, as Markdown."""
    lines = ["| reward | range | what it pays | source |", "|---|---|---|---|"]
    for reward in REWARDS.values():
        low, high = reward.range
        first = " ".join(reward.doc.partition("\n\n")[0].split())
        said, source = (text.replace("``", "`").replace("|", "\\|") for text in (first, reward.source))
        lines.append(f"| `{reward.name}` | {low:g}..{high:g} | {said} | {source} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(library(), table(), sep="\n\n")
