"""Malformed requests to a judge's server: status codes, response times, and memory.

    python benchmarks/hostile_requests.py --model RUN --json benchmarks/results/hostile_requests.json

The requests are hand-written (tests/helpers/malformed_requests.py), mutations of those, and negative cases that
schemathesis generates from the OpenAPI document. A mutated or generated request may be valid and get 200.
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
    parser.add_argument("--requests", type=int, default=5000, help="total; a fifth of them from schemathesis")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    hand_written = args.requests - args.requests // 5
    always_invalid = len(list(bodies()))
    statuses: collections.Counter[str] = collections.Counter()
    seconds, faults = [], []
    with _server(args.model) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        start, memory = time.perf_counter(), sum(server.memory().values())
        for i, bad in enumerate(itertools.islice(endlessly(), hand_written)):
            started, cpu = time.perf_counter(), sum(server.cpu_seconds().values())
            answer = client.post(bad.path, content=bad.content, headers={"content-type": bad.kind})
            seconds.append((sum(server.cpu_seconds().values()) - cpu, time.perf_counter() - started))
            statuses[f"hand-made {answer.status_code}"] += 1
            if answer.status_code >= 500 or (i < always_invalid and answer.status_code < 400):
                faults.append((bad.name, answer.status_code))
        generated, generated_faults = _schemathesis(server.url, args.requests - hand_written)
        statuses.update({f"schemathesis {status}": n for status, n in generated.items()})
        health = client.get("/health").json()
        rss = [sum(memory.values()) for memory in server.rss]
        result = {
            "requests": hand_written + sum(generated.values()),
            "answers": dict(sorted(statuses.items())),
            "faults": faults + generated_faults,
            "seconds": round(time.perf_counter() - start, 1),
            "slowest_s": {"core": round(max(s for s, _ in seconds), 2), "clock": round(max(s for _, s in seconds), 2)},
            "rss_mb": {"before": round(memory), "most": round(max(rss)), "after": round(rss[-1])},
            "in_flight_afterwards": health["in_flight"],
        }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def _schemathesis(url: str, n: int) -> tuple[collections.Counter[int], list[tuple[str, int]]]:
    """About ``n`` negative cases over all operations: status codes, and the cases with a status of 500 or more."""
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
