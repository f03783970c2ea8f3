"""A user's own pairs: a table of two images, a prompt, and which of the two is preferred.

The table is a `.csv` or `.tsv` (comma, semicolon, tab or bar; UTF-8, with or without BOM), a `.jsonl`, a `.json`
array, or a folder that holds one of them as `pairs.*`. Image paths are relative to the table.

| column | |
|---|---|
| `image_a`, `image_b` | paths, also `file.parquet#row/column` and `archive.tar#member` |
| `prompt` | the caption that both images were made for |
| `preferred` | `a`, `image_a`, `1`, `first`; `b`, `image_b`, `2`, `second`; `tie`, `both`, `equal`; any case |
| `p_first` | instead: the share of judgements that prefer `image_a`, 0 to 1 |
| `votes_a`, `votes_b` | instead: how many preferred each |
| `id`, `group_id`, `weight`, `source` | optional; rows of one prompt share a group unless they say otherwise |

If a row has several, `p_first` takes precedence over votes, and votes over `preferred`. `0` is refused: with `1` it
could mean the first image as well as "no". All other columns go to `meta`. A repeated row is a second vote: it is
a sample of its own, in the same split as the first, and is counted in the log.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from reasoner_rm.data import tables
from reasoner_rm.data.build import SKIPPED
from reasoner_rm.data.images import open_image, read_bytes
from reasoner_rm.data.io import check_sample, write_samples
from reasoner_rm.errors import InputError
from reasoner_rm.schema import Sample
from reasoner_rm.utils.files import atomic_write
from reasoner_rm.utils.locks import folder_lock

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
REQUIRED = ("image_a", "image_b", "prompt")
KNOWN = frozenset((*REQUIRED, "preferred", "p_first", "votes_a", "votes_b", "id", "group_id", "weight", "source"))
VERDICTS = (
    dict.fromkeys(("a", "image_a", "1", "first"), 1.0)
    | dict.fromkeys(("b", "image_b", "2", "second"), 0.0)
    | dict.fromkeys(("tie", "both", "equal"), 0.5)
)

Row: TypeAlias = Mapping[str, Any]


def read(
    path: str | Path,
    *,
    seed: int = 0,
    n: int | None = None,
    skip_bad: bool = False,
    skipped: list[InputError] | None = None,
    inspect: Callable[[Sample], None] = check_sample,
) -> Iterator[Sample]:
    """The table's pairs, each in an order drawn by seed and kept in ``meta.order``.

    Args:
        path: a table, or a folder that holds `pairs.csv`, `.tsv`, `.jsonl` or `.json`.
        n: stop after so many rows; None: all.
        skip_bad: leave bad rows out and say how many. A table that cannot be read as a whole is an error all the same.
        skipped: receives the error of each row left out.
        inspect: called with each sample; raises InputError to refuse it.

    Raises:
        InputError: with file and line: what is wrong and what to do.
    """
    file = locate(path)
    rows = list(itertools.islice(tables.rows(file, _check_columns), n))
    skipped = [] if skipped is None else skipped
    already, seen = len(skipped), dict[str, int]()
    for number, (line, row) in enumerate(tqdm(rows, file.name, unit="pair", delay=2, disable=None), start=1):
        try:
            if isinstance(row, InputError):
                raise row
            sample = _sample(row, f"{file.stem}-{number}", file, seed)
            if sample.id in seen:
                raise InputError(f"id {sample.id!r} is already on line {seen[sample.id]}", remedy="make ids unique")
            inspect(sample)
        except InputError as error:
            placed = InputError(str(error), file=file, line=line)
            if not skip_bad:
                raise placed from None
            skipped.append(placed)
            continue
        seen[sample.id] = line
        yield sample
    if bad := skipped[already:]:
        logger.warning("%s: %d of %d rows skipped; the first: %s", file, len(bad), len(rows), bad[0])
    if not seen:
        raise InputError("no usable pair in it", file=file, remedy=f"first: {bad[0]}" if bad else "add rows")


def build(
    source: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    heldout: float = 0.1,
    n: int | None = None,
    skip_bad: bool = False,
    skipped: list[InputError] | None = None,
    overwrite: bool = True,
) -> dict[str, Path]:
    """Write the pairs as `train.jsonl` and `heldout.jsonl`; images are not copied; each is opened once.

    `train.skipped.txt` lists the rows that were skipped, where there are any.

    Pairs that share a prompt, a group or an image (by content) stay in one split, also through other pairs.

    Args:
        heldout: the share of pairs to hold out, in whole groups; 0 writes no `heldout.jsonl`.
        n, skip_bad, skipped: as in `read`.
        overwrite: whether an earlier build may be replaced.

    Raises:
        InputError: as `read`, and for a broken image, a pair of twice the same image, pairs that cannot be split, or an
            earlier build.
    """
    if not 0 <= heldout < 1:
        raise InputError(f"heldout is {heldout}", remedy="give a share from 0 to below 1, such as 0.1")
    there = [file for name in ("train", "heldout") if (file := Path(out) / f"{name}.jsonl").exists()]
    if there and not overwrite:
        raise InputError("exists already", file=there[0], remedy="give another --out, or --overwrite")
    content: dict[str, str] = {}

    def inspect(sample: Sample) -> None:
        check_sample(sample)
        for ref in map(str, sample.images):
            if ref not in content:
                open_image(ref)  # decoded to the end: the header of a truncated file is valid
                content[ref] = hashlib.sha256(read_bytes(ref)).hexdigest()
        if len({content[str(ref)] for ref in sample.images}) == 1:
            raise InputError("image_a and image_b are the same image", remedy="correct or drop the row")

    skipped = [] if skipped is None else skipped
    already = len(skipped)
    samples = list(read(source, seed=seed, n=n, skip_bad=skip_bad, skipped=skipped, inspect=inspect))
    shared = {
        s.id: (("group", s.group_id), ("prompt", _plain(s.prompt)), *(("image", content[str(ref)]) for ref in s.images))
        for s in samples
    }
    repeats = len(samples) - len({frozenset(keys) for keys in shared.values()})
    if repeats:
        logger.warning("%s: %d rows repeat a pair; each counts as a vote of its own", source, repeats)
    splits = {"train": samples}
    if heldout:
        held = _hold_out(
            connected_components(shared), max(1, round(heldout * len(samples))), random.Random(f"heldout/{seed}")
        )
        if not held:
            raise InputError(
                "all pairs are connected by shared prompts, groups or images, so none can be held out",
                file=locate(source),
                remedy="add pairs of other prompts and images, or hold out 0",
            )
        splits = {"train": [s for s in samples if s.id not in held], "heldout": [s for s in samples if s.id in held]}
    files = {name: Path(out) / f"{name}.jsonl" for name in splits}
    with folder_lock(Path(out)):
        for name, part in splits.items():
            write_samples(files[name], part)
        listed = Path(out) / f"train.{SKIPPED}"
        listed.unlink(missing_ok=True)  # of an earlier build
        if bad := skipped[already:]:
            with atomic_write(listed) as lines:
                lines.writelines(f"{error}\n" for error in bad)
        if not heldout:
            # That of an earlier build shares prompts with this train.
            (Path(out) / "heldout.jsonl").unlink(missing_ok=True)
    return files


def connected_components(keys: Mapping[str, Iterable[Hashable]]) -> list[list[str]]:
    """Names grouped by connected component: two names with a common key are connected.

    >>> connected_components({"a": [1], "b": [2], "c": [1, 3], "d": [3]})
    [['a', 'c', 'd'], ['b']]
    """
    parent: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = key = parent[above]  # path halving, for the next look-up
        return key

    for name, shared in keys.items():
        for key in shared:
            parent[root(("key", key))] = root(("name", name))
    found = defaultdict(list)
    for name in keys:
        found[root(("name", name))].append(name)
    return list(found.values())


def _hold_out(groups: Sequence[list[str]], wanted: int, rng: random.Random) -> set[str]:
    """Random whole groups, up to the wanted number; the smallest group if all are larger."""
    if len(groups) < 2:
        return set()
    held: set[str] = set()
    for group in rng.sample(groups, len(groups)):
        if len(held) + len(group) <= wanted:
            held.update(group)
    smallest = min(groups, key=len)
    return held or set(smallest)


def locate(path: str | Path) -> Path:
    """The table itself: the file, or the one `pairs.*` in a folder.

    Raises:
        InputError: there is none, there are several, or it is no table.
    """
    path = Path(path)
    if path.is_dir():
        tables = [path / f"pairs{suffix}" for suffix in SUFFIXES if (path / f"pairs{suffix}").is_file()]
        if len(tables) != 1:
            what = f"holds {' and '.join(t.name for t in tables)}" if tables else "holds no table of pairs"
            raise InputError(what, file=path, remedy="name one table, or put one pairs.csv or pairs.jsonl there")
        return tables[0]
    if not path.is_file():
        raise InputError("no such file", file=path, remedy="give a .csv or .jsonl of pairs, or a folder with one")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError("not a table by its suffix", file=path, remedy=f"use {', '.join(SUFFIXES)}")
    return path


def _check_columns(columns: Collection[str]) -> None:
    names = [name for name in columns if name]
    if len(set(names)) < len(names):
        raise InputError("two columns have the same name", remedy="rename one")
    missing = [name for name in REQUIRED if name not in names]
    if not {"preferred", "p_first"}.intersection(names) and not {"votes_a", "votes_b"} <= set(names):
        missing.append("preferred")
    if missing:
        others = {name.casefold(): name for name in names if name not in KNOWN}
        near = {name: difflib.get_close_matches(name, others, 1) for name in missing}
        hints = [f"{name!r}" + (f" (did you mean {others[n[0]]!r}?)" if n else "") for name, n in near.items()]
        raise InputError(f"no column {', '.join(hints)}", remedy=f"rename or add; there is {', '.join(names)}")


def _sample(row: Row, name: str, file: Path, seed: int) -> Sample:
    _check_columns(row)
    stated = {k: v for k, v in row.items() if v is not None and str(v).strip()}
    for column in REQUIRED:
        if not isinstance(stated.get(column, ""), str):
            raise InputError(f"{column} is {stated[column]!r:.60}", remedy="give a text")
        if column not in stated:
            raise InputError(f"empty {column}", remedy="fill it in or remove the row")
    if "order" in stated:
        raise InputError("no column may be called 'order'", remedy="rename it: meta.order says which image is first")
    ident, prompt, p = str(stated.get("id", name)), stated["prompt"], _p_first(stated)
    order = random.Random(f"pairs/{seed}/{ident}").choice(([0, 1], [1, 0]))
    files = [str(file.parent / stated[column]) for column in ("image_a", "image_b")]
    digest = hashlib.sha256(_plain(prompt).encode(errors="backslashreplace")).hexdigest()
    return Sample(
        id=ident,
        task="image_preference",
        prompt=prompt,
        images=tuple(files[k] for k in order),
        gold={"p_first": p if order[0] == 0 else 1 - p},
        weight=_number(stated, "weight") if "weight" in stated else 1.0,
        group_id=str(stated.get("group_id", f"prompt-{digest[:12]}")),
        source=str(stated.get("source", file.stem)),
        meta={k: v for k, v in stated.items() if k not in KNOWN} | {"order": order},
    )


def _p_first(stated: Row) -> float:
    """The preference for ``image_a``, 0 to 1, by the most precise column of the row."""
    if "p_first" in stated:
        return _number(stated, "p_first", high=1)
    if {"votes_a", "votes_b"} <= stated.keys():
        a, b = _number(stated, "votes_a"), _number(stated, "votes_b")
        if a + b == 0:
            raise InputError("no votes for either image", remedy="remove the row, or state preferred: tie")
        return a / (a + b)
    if "preferred" not in stated:
        raise InputError("no preference", remedy="fill in preferred, p_first, or both votes")
    preferred = str(stated["preferred"]).strip().casefold()
    if preferred not in VERDICTS:
        raise InputError(f"preferred is {stated['preferred']!r:.60}", remedy=f"use one of {', '.join(VERDICTS)}")
    return VERDICTS[preferred]


def _number(stated: Row, column: str, high: float = math.inf) -> float:
    try:
        value = float(stated[column])
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= high or math.isinf(value):
        bound = "" if high > 1 else " to 1"
        raise InputError(f"{column} is {stated[column]!r:.60}", remedy=f"give a number from 0{bound}")
    return value


def _plain(prompt: str) -> str:
    """A prompt normalised in case and white space."""
    return " ".join(prompt.casefold().split())
