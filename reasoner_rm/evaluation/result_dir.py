"""A result directory: the plan, every vote, and the scores.

`items.jsonl` holds the items with their gold, `predictions.jsonl` a line for each with all its votes (its first line
is the plan), `blind.jsonl` and `grades.jsonl` the same of the judge without images and of a grader;
`scores.json` and `report.html` are made from these alone. They are those of the evaluation's own protocol; the scores
of the same votes under another are beside them, as `scores.NAME.json` and `report.NAME.html`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from reasoner_rm.data.io import json_object
from reasoner_rm.errors import InputError
from reasoner_rm.evaluation.predictions import AnsweredItem, Prediction
from reasoner_rm.schema import Sample
from reasoner_rm.serialization import sample_from_dict, sample_to_dict
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.parse_files import read_json

ITEMS, PREDICTIONS, BLIND, GRADES, SCORES = (
    "items.jsonl", "predictions.jsonl", "blind.jsonl", "grades.jsonl", "scores.json",
)  # fmt: skip


class ResultDir:
    """The directory of one evaluation."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def write_items(self, samples: Sequence[Sample]) -> None:
        with atomic_write(self.path / ITEMS) as out:
            for sample in samples:
                out.write(json.dumps(sample_to_dict(sample, self.path), ensure_ascii=False) + "\n")

    def items(self) -> list[Sample]:
        """
        Raises:
            InputError: there are none, or a broken line.
        """
        file = self.path / ITEMS
        return [
            _checked(lambda row=row: sample_from_dict(row, self.path), file, number)  # type: ignore[misc]
            for number, row in enumerate(_lines(file), start=1)
        ]

    def plan(self) -> dict[str, Any]:
        """Benchmark, protocol and judge: the first line of the predictions."""
        return next(_lines(self.path / PREDICTIONS), {})

    def answered_items(self, name: str = PREDICTIONS) -> tuple[list[AnsweredItem], dict[str, int]]:
        """The items with the votes of a file, and the anomalies of the file: `missing` items without a line, `repeated`
        lines (the last one counts), `unknown` ids.

        Raises:
            InputError: a broken line.
        """
        file = self.path / name
        votes: dict[str, tuple[Prediction, ...]] = {}
        repeated = 0
        for number, row in enumerate(islice(_lines(file), 1, None), start=2):
            repeated += row.get("id") in votes
            votes[str(row.get("id"))] = _checked(
                lambda row=row: tuple(Prediction.from_json(v) for v in row["votes"]), file, number  # type: ignore[misc]
            )  # fmt: skip
        graded = self._grades() if name == PREDICTIONS else {}
        items = self.items()
        answered = [
            AnsweredItem(s, tuple(_graded(v, graded.get((s.id, v.number))) for v in votes[s.id]))
            for s in items
            if s.id in votes
        ]
        anomalies = {
            "missing": len(items) - len(answered),
            "repeated": repeated,
            "unknown": len(votes.keys() - {s.id for s in items}),
        }
        return answered, {name: n for name, n in anomalies.items() if n}

    def _grades(self) -> dict[tuple[str, int], tuple[Prediction, ...]]:
        """A grader's votes by item and number of the graded vote."""
        file = self.path / GRADES
        if not file.is_file():
            return {}
        found = {}
        for number, row in enumerate(islice(_lines(file), 1, None), start=2):
            name, _, vote = str(row.get("id")).rpartition("#")
            found[name, _checked(lambda vote=vote: int(vote), file, number)] = _checked(
                lambda row=row: tuple(Prediction.from_json(v) for v in row["votes"]), file, number  # type: ignore[misc]
            )  # fmt: skip
        return found

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        with atomic_write(self.scores_file(scores["protocol"]["name"])) as out:
            json.dump(scores, out, indent=1, ensure_ascii=False)

    def scores_file(self, protocol: str | None = None) -> Path:
        """The file of the scores under a protocol, by its name with the options that were changed; None: the
        evaluation's own, which is the first that the votes were scored under."""
        own = self.path / SCORES
        if protocol is None or not own.is_file() or self.scores()["protocol"]["name"] == protocol:
            return own
        return own.with_name(f"scores.{re.sub('[^0-9A-Za-z_.=-]+', '-', protocol).strip('-')}.json")

    def scores(self, protocol: str | None = None) -> dict[str, Any]:
        """The scores under a protocol; None: the evaluation's own.

        Raises:
            InputError: the votes were not scored under it.
        """
        file = self.scores_file(protocol)
        if not file.is_file():
            remedy = "give a folder that `eval` wrote" if protocol is None else "`rescore` writes it"
            raise InputError(f"no {file.name}", file=self.path, remedy=remedy)
        return read_json(file, remedy="remove it: `rescore` writes it again")


def _graded(vote: Prediction, grades: tuple[Prediction, ...] | None) -> Prediction:
    return vote if grades is None else replace(vote, grades=grades)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file. A last line without its end is left out, as a resumed run leaves it out."""
    if not file.is_file():
        raise InputError(f"no {file.name}", file=file.parent, remedy="give a folder that `eval` wrote")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json_object(line)
            except InputError as error:
                raise InputError(str(error), file=file, line=number) from None


def _checked(build: Any, file: Path, line: int) -> Any:
    try:
        return build()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"not a line of this file ({error})", file=file, line=line) from None
    except InputError as error:
        raise InputError(str(error), file=file, line=line) from None
