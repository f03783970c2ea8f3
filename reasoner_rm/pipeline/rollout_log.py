"""The record of a scored group in `rollouts.jsonl`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from reasoner_rm.schema import ScoredGroup
from reasoner_rm.tasks.frames import frames


def rollout_record(scored: ScoredGroup, run: Path) -> dict[str, Any]:
    """A scored group as a JSON object; images and video frames are paths relative to the run."""
    sample = scored.group.sample
    beliefs = scored.beliefs or (None,) * len(scored.total)
    return {
        "sample": {
            "id": sample.id,
            "task": sample.task,
            "prompt": sample.prompt,
            "images": [os.path.relpath(i, run) for i in sample.images if isinstance(i, str)],
            "videos": [[os.path.relpath(f, run) for f in frames(v) if isinstance(f, str)] for v in sample.videos],
            "responses": list(sample.responses),
            "gold": dict(sample.gold),
            "meta": dict(sample.meta),
        },
        "completions": [
            {
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "well_formed": parsed.well_formed,
                "parse_error": parsed.parse_error,
                "components": {name: values[i] for name, values in scored.components.items()},
                "metrics": {name: values[i] for name, values in scored.metrics.items()},
                "total": scored.total[i],
                "advantage": scored.advantages[i],
                "belief": None if belief is None else dataclasses.asdict(belief),
            }
            for i, (completion, parsed, belief) in enumerate(
                zip(scored.group.completions, scored.parsed, beliefs, strict=True)
            )
        ],
    }
