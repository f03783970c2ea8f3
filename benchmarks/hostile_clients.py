"""Good clients of a judge's server among hostile ones: does each get its answer, and nothing else?

    python benchmarks/hostile_clients.py --json benchmarks/results/hostile_clients.json

A tenth of the requests is hostile (tests/helpers/server_clients.py). Every good request is asked alone first, its
answer is deterministic, and each later answer is compared with it, exactly. The server has no cache of completions.
Rounding depends on the rows of a batch, so that a request whose likeliest tokens are nearly tied has two answers: those
that have them in a crowd of good clients alone are found first, and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the server

import httpx

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "helpers")]

from server import _server  # noqa: E402
from server_clients import HostileClients, ask_alone, crowd, good_requests  # noqa: E402

from data_recipes.pocket import samples  # noqa: E402
from reasoner_rm.data.images import open_image  # noqa: E402

IDLE_SECONDS = 10.0
"""Seconds for the server to notice that the last clients have left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("builtin:pocket-base"))
    parser.add_argument("--requests", type=int, default=10_000, help="a tenth of them hostile")
    parser.add_argument("--good", type=int, default=450, help="good requests, each is sent equally often")
    parser.add_argument("--clients", type=int, default=40, help="that ask at once")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pictures = [open_image(image) for sample in samples("image_preference", 40, 7) for image in sample.images]
    good = good_requests(args.good, pictures)
    with _server(args.model, "--max-tokens", "24") as server:
        alone = ask_alone(server.url, good)
        again = sum(a != b for a, b in zip(alone, ask_alone(server.url, good[:45]), strict=False))
        clients = HostileClients(server.url, pictures[0], drip_seconds=2.0)
        control = crowd(clients, good, alone, 3 * len(good), args.clients, hostile_share=0.0)
        tied = {number for number, _ in control.wrong}
        good, alone = zip(*(pair for i, pair in enumerate(zip(good, alone, strict=True)) if i not in tied), strict=True)
        memory, start = sum(server.memory().values()), time.perf_counter()
        outcome = crowd(clients, good, alone, args.requests, args.clients)
        seconds = time.perf_counter() - start
        in_flight = _in_flight_at_last(server.url)
        after = ask_alone(server.url, good)
        result = {
            "requests": args.requests,
            "good": {
                "sent": args.requests - sum(outcome.statuses.values()),
                "distinct_requests": len(good),
                "left_out_as_tied": len(tied),
                "distinct_answers": len(set(alone)),
                "other_answers": len(outcome.wrong),
                "other_answers_alone_before": again,
                "other_answers_alone_afterwards": sum(a != b for a, b in zip(alone, after, strict=True)),
                "examples": outcome.wrong[:5],
            },
            "hostile": {
                kind: {str(got): n for (of, got), n in sorted(outcome.statuses.items(), key=str) if of == kind}
                for kind in dict.fromkeys(kind for kind, _ in sorted(outcome.statuses, key=str))
            },
            "faults": outcome.failures,
            "in_flight_afterwards": in_flight,
            "rss_mb": {"before": round(memory), "most": round(max(sum(m.values()) for m in server.rss))},
            "seconds": round(seconds, 1),
        }
    _print(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _in_flight_at_last(url: str) -> int:
    """Requests in flight once the last client has left."""
    until = time.monotonic() + IDLE_SECONDS
    while (count := int(httpx.get(f"{url}health", timeout=60).json()["in_flight"])) and time.monotonic() < until:
        time.sleep(0.2)
    return count


def _print(result: dict[str, Any]) -> None:
    for kind, statuses in result["hostile"].items():
        print(f"{kind:26} {sum(statuses.values()):5}  {', '.join(f'{got}: {n}' for got, n in statuses.items())}")
    print(json.dumps({name: value for name, value in result.items() if name != "hostile"}, indent=1))


if __name__ == "__main__":
    main()
