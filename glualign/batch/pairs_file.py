"""Explicit lists of pairs: CSV with a header, or JSON lines, from a file or standard input."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glualign.batch.pairs import PairList, Row, from_rows
from glualign.errors import BatchError
from glualign.files import PathLike, read_bytes

_COLUMNS = ("source", "target", "output")
_LONGEST = 1 << 32
"""Bytes of a list: some twenty million pairs."""


def read_pairs(location: PathLike) -> PairList:
    """Read a list of pairs: ``.jsonl``/``.ndjson`` as JSON lines, others as CSV, ``-`` (stdin) as either.

    Columns are ``source``, ``target`` and, optionally, ``output``. Relative paths start at the folder of the
    list, for stdin at the current folder. A malformed row becomes a pair with a fault; the others stand.

    Raises:
        BatchError: the list cannot be read, has no header, is empty, or asks for one output twice.
    """
    name = os.fspath(location)
    file = None if name == "-" else Path(name)
    try:
        data = sys.stdin.buffer.read() if file is None else read_bytes(file, _LONGEST, error=BatchError)
        text = _text(data)
    except (OSError, ValueError, AttributeError) as error:  # closed standard input is None
        raise BatchError(f"{name}: cannot be read ({error})") from error
    if file is None:
        name, is_json = "standard input", text.lstrip().startswith("{")
    else:
        is_json = file.suffix.lower() in {".jsonl", ".ndjson", ".json"}
    rows = _json_rows(text) if is_json else _csv_rows(text, name)
    listed = [_row(row, f"{name}, line {line}") for line, row in rows]
    return from_rows(listed, folder=Path() if file is None else file.parent, file=file)


def _text(data: bytes) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one; bytes that are no text stay names."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "surrogatepass")
    return data.decode("utf-8-sig", "surrogateescape")


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Line number and columns of each row, or what is wrong with it."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
    except csv.Error:
        header = []
    if not {"source", "target"} <= set(header) <= set(_COLUMNS):
        raise BatchError(
            f"{name}: the first line must name the columns source,target or source,target,output; "
            f"it has {','.join(header) or 'nothing'}"
        )
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"is not CSV ({error})"
            continue
        if len(fields) > len(header):
            yield reader.line_num, "more fields than columns; quote names with commas"
        elif fields:
            yield reader.line_num, dict(zip(header, fields, strict=False))


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Line number and object of each row, or what is wrong with it."""
    for line, entry in enumerate(text.split("\n"), start=1):
        if not entry.strip():
            continue
        try:
            row = json.loads(entry)
        except (ValueError, RecursionError) as error:
            yield line, f"is not JSON ({getattr(error, 'msg', None) or error})"
            continue
        is_object = isinstance(row, dict)
        yield line, row if is_object else 'must be an object such as {"source": ..., "target": ...}'


def _row(row: Mapping[str, Any] | str, where: str) -> Row:
    if isinstance(row, str):
        return Row("", "", where=where, fault=row)
    values = {column: row.get(column) or "" for column in _COLUMNS}
    for column, value in values.items():
        if not isinstance(value, str):
            return Row("", "", where=where, fault=f"{column} must be text")
        if not value and column != "output":
            return Row("", "", where=where, fault=f"no {column}")
    return Row(values["source"], values["target"], values["output"] or None, where)
