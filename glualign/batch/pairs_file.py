"""Explicit lists of pairs: CSV with a header, or JSON lines, from a file or standard input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from glualign.errors import BatchError

_COLUMNS = ("source", "target", "output")


@dataclass(frozen=True)
class PairRow:
    """One row of a list.

    Attributes:
        source: path of the source, joined to the list's folder where it was relative.
        target: path of the target, likewise.
        written: the source exactly as the list has it.
        output: where the results go, relative to the output folder, without extension; None: chosen for you.
    """

    source: Path
    target: Path
    written: str
    output: str | None = None


def read_pairs(location: str | os.PathLike[str]) -> list[PairRow]:
    """Read a list of pairs: ``.jsonl``/``.ndjson`` as JSON lines, others as CSV, ``-`` (stdin) as either.

    Columns are ``source``, ``target`` and, optionally, ``output``. Relative paths start at the folder of the
    list, for stdin at the current folder.

    Raises:
        BatchError: the file cannot be read or a row is malformed; the message names the line.
    """
    name = os.fspath(location)
    if name == "-":
        text, folder, name = sys.stdin.read(), Path(), "standard input"
        kind = _sniff(text)
    else:
        text, folder = _read_text(Path(name)), Path(name).parent
        kind = "jsonl" if Path(name).suffix.lower() in {".jsonl", ".ndjson", ".json"} else "csv"
    rows = _json_rows(text, name) if kind == "jsonl" else _csv_rows(text, name)
    return [_pair(row, folder, f"{name}, line {line}") for line, row in rows]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BatchError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BatchError(f"{path}: is not UTF-8 text; save the list as UTF-8") from error


def _sniff(text: str) -> Literal["csv", "jsonl"]:
    return "jsonl" if text.lstrip().startswith("{") else "csv"


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [(column or "").strip() for column in reader.fieldnames or ()]
    if not {"source", "target"} <= set(header) or not set(header) <= set(_COLUMNS):
        raise BatchError(
            f"{name}: the first line must name the columns source,target or source,target,output; "
            f"it has {','.join(header) or 'nothing'}"
        )
    reader.fieldnames = header
    for row in reader:
        if None in row:
            raise BatchError(
                f"{name}, line {reader.line_num}: more fields than columns; quote names with commas"
            )
        yield reader.line_num, row


def _json_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, entry in enumerate(text.splitlines(), start=1):
        if not entry.strip():
            continue
        try:
            row = json.loads(entry)
        except json.JSONDecodeError as error:
            raise BatchError(f"{name}, line {line}: is not JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise BatchError(
                f'{name}, line {line}: must be an object such as {{"source": ..., "target": ...}}'
            )
        yield line, row


def _pair(row: Mapping[str, Any], folder: Path, where: str) -> PairRow:
    for column in ("source", "target"):
        if not isinstance(row.get(column), str) or not row[column]:
            raise BatchError(f"{where}: no {column}")
    output = row.get("output") or None
    return PairRow(
        source=folder / row["source"],
        target=folder / row["target"],
        written=row["source"],
        output=None if output is None else _inside(output, where),
    )


def _inside(output: Any, where: str) -> str:
    """An output name that stays inside the output folder."""
    if isinstance(output, str) and "\0" not in output:
        pure = PurePosixPath(output.replace(os.sep, "/"))
        if pure.name and not pure.is_absolute() and ".." not in pure.parts and not Path(output).is_absolute():
            return str(pure)
    raise BatchError(f"{where}: output {output!r} must be a relative name inside the output folder")
