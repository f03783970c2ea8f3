"""OpenRLHF-style remote rewards: the trainer posts complete texts with their prompts, and gets one reward per text.

reasoner-rm serve --model MODEL --port 8000 &     # a judge of response_preference, or a base model
python examples/openrlhf.py --url http://127.0.0.1:8000
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from typing import Any

from drawing import draw

from reasoner_rm.utils.http_client import open_client


def request_rewards(url: str, answers: list[str]) -> dict[str, Any]:
    """Rewards of the answers to one question, with the request format of OpenRLHF's multimodal forks."""
    out = io.BytesIO()
    draw("red", 1).save(out, "PNG")
    image = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is there?"}]
    prompt = json.dumps([{"role": "user", "content": content}])
    query = [f"<|im_start|>user\nWhat is there?<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>" for a in answers]
    with open_client(timeout=180) as client:
        answer = client.post(f"{url}/get_reward_mllm", json={"query": query, "prompts": [prompt] * len(query)})
    result: dict[str, Any] = answer.json()
    if answer.is_error:
        raise SystemExit(f"{url} answers {answer.status_code}: {result['error']['message']}")
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    args = parser.parse_args(argv)
    print(request_rewards(args.url, ["A red circle.", "A blue square."]))


if __name__ == "__main__":
    main()
