"""Malformed requests against a served judge: what each is answered with, how long it takes, what memory it leaves.

    python benchmarks/hostile_requests.py --model RUN --json benchmarks/results/hostile_requests.json

Hand-made ones (tests/helpers/malformed_requests.py) and changed forms of them,
and cases that schemathesis draws from the OpenAPI document
to break it. A changed or drawn request may turn out valid: then it may be answered with 200.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "helpers")]

from malformed_requests import bodies, endlessly  # noqa: E402
from server import _server  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=5000, help="a fifth of them by schemathesis")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    by_hand = args.requests - args.requests // 5
    sure = len(list(bodies()))
    statuses: collections.Counter[str] = collections.Counter()
    seconds, faults = [], []
    with _server(args.model) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        began, memory = time.perf_counter(), sum(server.memory().values())
        for i, bad in enumerate(itertools.islice(endlessly(), by_hand)):
            started, worked = time.perf_counter(), sum(server.worked().values())
            answer = client.post(bad.path, content=bad.content, headers={"content-type": bad.kind})
            seconds.append((sum(server.worked().values()) - worked, time.perf_counter() - started))
            statuses[f"hand-made {answer.status_code}"] += 1
            if answer.status_code >= 500 or (i < sure and answer.status_code < 400):
                faults.append((bad.name, answer.status_code))
        drawn, bad_drawn = _schemathesis(server.url, args.requests - by_hand)
        statuses.update({f"schemathesis {status}": n for status, n in drawn.items()})
        health = client.get("/health").json()
        rss = [sum(memory.values()) for memory in server.rss]
        result = {
            "requests": by_hand + sum(drawn.values()),
            "answers": dict(sorted(statuses.items())),
            "faults": faults + bad_drawn,
            "seconds": round(time.perf_counter() - began, 1),
            "slowest_s": {"core": round(max(s for s, _ in seconds), 2), "clock": round(max(s for _, s in seconds), 2)},
            "rss_mb": {"before": round(memory), "most": round(max(rss)), "after": round(rss[-1])},
            "in_flight_afterwards": health["in_flight"],
        }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _schemathesis(url: str, n: int) -> tuple[collections.Counter[int], list[tuple[str, int]]]:
    """About ``n`` cases that break the document, spread over its operations; their statuses, and what is a fault."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_url(f"{url}openapi.json")
    operations = [o.ok() for o in schema.get_all_operations() if o.ok().method.upper() == "POST"]
    statuses: collections.Counter[int] = collections.Counter()
    faults: list[tuple[str, int]] = []
    for operation in operations:

        @settings(
            max_examples=n // len(operations), deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def broken(case: Any) -> None:
            answer = case.call()
            statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                faults.append((case.operation.label, answer.status_code))

        broken()
    return statuses, faults


if __name__ == "__main__":
    main()
