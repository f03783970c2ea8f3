"""The values that a protocol's knobs take; what each means stands at `Protocol`."""

from __future__ import annotations

from typing import Literal

Orders = Literal["given", "random", "both", "best_first", "parity"]
Combine = Literal["mean", "majority", "strict"]
Tie = Literal["drop", "wrong", "right", "half", "exact", "calibrated"]
Unparsed = Literal["wrong", "coin", "exclude", "spoil"]
Average = Literal["micro", "macro", "all"]
