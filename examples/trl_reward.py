"""TRL: a reward function of GRPOTrainer, called with the keywords that TRL passes: prompts, completions, their token
ids, the dataset's columns, trainer_state, log_extra, log_metric."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from drawing import draw

from reasoner_rm import Judge
from reasoner_rm.errors import InputError
from reasoner_rm.judge.adapters import as_trl_reward, as_trl_reward_async


def step(reward: Any, answers: list[str]) -> tuple[list[float | None], dict[str, float]]:
    """Rewards of one prompt's completions, and the logged metrics."""
    image, logged = draw("red", 1), {}
    question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is there?"}]}]
    inputs: dict[str, Any] = {
        "prompts": [question] * len(answers),
        "completions": [[{"role": "assistant", "content": answer}] for answer in answers],
        "completion_ids": [[1, 2, 3]] * len(answers),
        "images": [[image]] * len(answers),
        "trainer_state": None,
        "log_extra": lambda column, values: None,
        "log_metric": logged.__setitem__,
    }
    rewards = reward(**inputs)
    if inspect.isawaitable(rewards):
        import asyncio

        async def wait() -> Any:
            return await rewards

        rewards = asyncio.run(wait())
    return rewards, logged


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a judge of response_preference, or a base model")
    args = parser.parse_args(argv)
    answers = ["A red circle.", "A blue square.", "Nothing."]
    try:
        judge = Judge.from_pretrained(args.model, max_tokens=96)
        for make in (as_trl_reward, as_trl_reward_async):
            rewards, logged = step(make(judge), answers)
            print(dict(zip(answers, rewards, strict=True)), logged)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
