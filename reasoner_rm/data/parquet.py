"""Rows of a parquet file. Images are not copied: a row holds a reference to their cell."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from reasoner_rm.data.expansion import check_expansion
from reasoner_rm.errors import InputError

BATCH = 1000
"""Rows read at a time, or fewer, so that they take at most `BATCH_BYTES`."""
BATCH_BYTES = 2**30
"""A value that is stored once may be that of every row."""


class Stored(str):
    """A reference `file.parquet#row/column` made by this program, as opposed to a text of the dataset."""


def rows(
    file: Path, header: Callable[[list[str]], None] | None = None, unread: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with its number from 1. `binary` columns and the hub's image structs `{bytes, path}` become
    :class:`Stored` references where they hold bytes, else the struct's path.

    Raises:
        InputError: no parquet file, one that expands without bound, or a part of it that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            _check(table, file)
            schema = table.schema_arrow
            if header:
                header(schema.names)
            fields = [f for f in schema if f.name not in unread]
            pictures = {f.name: _layout(f.type) for f in fields if _layout(f.type)}
            number = 0
            for group in range(table.num_row_groups):
                start = number
                read = [c for f in fields for c in _columns(f.name, pictures.get(f.name), table, group)]
                size = _rows_at_once(table.metadata.row_group(group), read)
                for batch in table.iter_batches(size, row_groups=[group], columns=read):
                    for row in batch.to_pylist():
                        yield number + 1, _referred(row, file, number, pictures)
                        number += 1
                if number == start and not read:  # images only, all with their bytes
                    stated = table.metadata.row_group(group).num_rows
                    if stated > os.path.getsize(file):
                        raise pa.ArrowInvalid(f"it claims to hold {stated} images, more than it has bytes")
                    for _ in range(stated):
                        yield number + 1, _referred({}, file, number, pictures)
                        number += 1
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a readable parquet file ({error})", file=file, remedy="fetch it again") from None


def _check(table: Any, file: str | Path) -> None:
    """Check that a file does not expand without bound.

    Raises:
        ExpansionError: it does.
    """
    groups = [table.metadata.row_group(i) for i in range(table.num_row_groups)]
    check_expansion(sum(group.total_byte_size for group in groups), os.path.getsize(file))


def _rows_at_once(group: Any, columns: Collection[str]) -> int:
    """The rows of a group that are read together. None of them has more bytes than the group."""
    chunks = (group.column(i) for i in range(group.num_columns))
    size = sum(c.total_uncompressed_size for c in chunks if _is_of(c.path_in_schema, columns))
    return max(1, min(BATCH, BATCH_BYTES // max(1, size)))


def _is_of(leaf: str, columns: Collection[str]) -> bool:
    return any(leaf == column or leaf.startswith(f"{column}.") for column in columns)


def _layout(kind: Any) -> str:
    """How a column holds images: `binary`, `struct`, `list` (of such structs), or not at all."""
    import pyarrow as pa

    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    if pa.types.is_struct(kind) and {"bytes", "path"} == {field.name for field in kind}:
        return "struct"
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _layout(kind.value_type) in ("binary", "struct"):
        return "list"
    return ""


def _columns(name: str, layout: str | None, table: Any, group: int) -> list[str]:
    """The leaf columns to read: not the bytes, where every row has them."""
    if layout in ("binary", "struct"):
        leaf = name if layout == "binary" else f"{name}.bytes"
        meta = table.metadata.row_group(group)
        for i in range(meta.num_columns):
            column = meta.column(i)
            known = column.statistics if column.path_in_schema == leaf else None
            if known is not None and known.has_null_count and known.null_count == 0:
                return []
    return [name]


def _referred(row: dict[str, Any], file: Path, number: int, pictures: dict[str, str]) -> dict[str, Any]:
    for name, layout in pictures.items():
        at = f"{file}#{number}/{name}"
        if name not in row:
            row[name] = Stored(at)
        elif layout == "list" and row[name] is not None:
            row[name] = [_one(item, f"{at}/{k}") for k, item in enumerate(row[name])]
        else:
            row[name] = _one(row[name], at)
    return row


def _one(value: Any, at: str) -> Any:
    held = value.get("bytes") if isinstance(value, dict) else value
    if held is not None:
        return Stored(at)
    return value.get("path") if isinstance(value, dict) else None


def image_bytes(file: str, inside: str) -> bytes:
    """The value at ``row/column`` or, in a column of lists, ``row/column/item``, as a reference names them.

    Raises:
        ValueError, LookupError, OSError: there is no such cell.
    """
    row, _, column = inside.partition("/")
    column, _, item = column.partition("/")
    if not row.isdecimal() or (item and not item.isdecimal()):  # a negative one would count from the end
        raise ValueError(f"{inside!r} is no row and column")
    starts = _group_starts(file)
    number = int(row)
    group = next((g for g, start in enumerate(starts[1:]) if number < start), None)
    if group is None:
        raise IndexError(f"there is no row {row}")
    value = _group_column(file, column, group)[number - starts[group]].as_py()
    if item:
        value = value[int(item)]
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise ValueError(f"column {column!r} holds no image bytes at row {row}")
    return data


@functools.lru_cache(maxsize=64)
def _group_starts(file: str) -> list[int]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        _check(table, file)
        starts = [0]
        for group in range(table.num_row_groups):
            starts.append(starts[-1] + table.metadata.row_group(group).num_rows)
        return starts


@functools.lru_cache(maxsize=4)
def _group_column(file: str, column: str, group: int) -> Any:
    """One column of one row group, so that memory stays small with files of many gigabytes. A value of several rows is
    held once."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        schema = table.schema
        leaves = [schema.column(i) for i in range(len(schema)) if _is_of(schema.column(i).path, [column])]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(file, read_dictionary=texts) as table:
        return table.read_row_group(group, columns=[column]).column(column)
