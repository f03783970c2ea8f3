"""Flow-GRPO's remote rewards: JPEGs and prompts are posted in batches of 64, as a pickle; so is the answer.

reasoner-rm serve --model MODEL --port 18085 --flow-grpo-pickle &
python examples/flow_grpo_remote.py --url http://127.0.0.1:18085
"""

from __future__ import annotations

import argparse
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import requests
import torch
from drawing import sample
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3 import Retry

BATCH = 64


def remote_score(url: str) -> Callable[..., tuple[list[float], dict[str, Any]]]:
    """A reward function of Flow-GRPO that sends requests to a server."""
    session = requests.Session()
    session.trust_env = False  # a server of this machine is not asked through HTTP_PROXY
    session.mount("http://", HTTPAdapter(max_retries=Retry(total=10, status_forcelist=[500], allowed_methods=False)))

    def reward(images: Any, prompts: Any, metadata: Any) -> tuple[list[float], dict[str, Any]]:
        if isinstance(images, torch.Tensor):
            images = (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy().transpose(0, 2, 3, 1)
        parts = int(np.ceil(len(images) / BATCH))
        scores: list[float] = []
        batches = zip(np.array_split(images, parts), np.array_split(prompts, parts), strict=True)
        for image_batch, prompt_batch in batches:
            body = pickle.dumps({"images": [jpeg(image) for image in image_batch], "prompts": prompt_batch})
            answer = session.post(url, data=body, timeout=120)
            answer.raise_for_status()
            scores += pickle.loads(answer.content)["outputs"]
        return scores, {}

    return reward


def jpeg(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG")
    return out.getvalue()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    args = parser.parse_args(argv)
    prompts = [prompt for prompt in ("a red circle", "a blue circle") for _ in range(4)]
    scores, _ = remote_score(args.url)(sample(prompts, 3), prompts, [{}] * len(prompts))
    print(dict(zip(("red", "blue"), np.reshape(scores, (2, 4)).round(2).tolist(), strict=True)))


if __name__ == "__main__":
    main()
