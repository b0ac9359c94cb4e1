"""One HTML page over a whole batch: thumbnails of each pair, the worst first, linked to its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from glualign.batch.listing import EXTENSIONS
from glualign.batch.manifest import Record
from glualign.batch.summary import Summary
from glualign.images import Image, read_image, reduce_image, to_rgb8
from glualign.quality import VERDICTS
from glualign.report.page import picture_url, write_page

THUMBNAIL = 240
"""Longer side of a thumbnail in pixels."""
LIMIT = 300
"""Pairs on one page; with three pictures of some 8 kB each the page stays below 10 MB."""
IN_ERROR = "error"
"""Stands for the verdict of a pair that was not aligned or written."""


def write_contact_sheet(
    path: Path, records: Sequence[Record], summary: Summary, *, read: Callable[[Path], Image] = read_image
) -> None:
    """Write the page of the worst `LIMIT` records, with thumbnails inside it.

    The page lies in the output folder, to which its links and the records' outputs are relative. ``read``
    decodes sources and targets, as the batch did. Raises as `write_page`.
    """
    shown = worst_first(records)[:LIMIT]
    with ThreadPoolExecutor(2) as pool:
        pairs = list(pool.map(lambda record: _pair(record, path.parent, read), shown))
    counts = {**summary.verdicts, IN_ERROR: summary.errors}
    values: dict[str, Any] = {"summary": summary, "counts": counts, "pairs": pairs, "size": THUMBNAIL}
    write_page(path, "contact_sheet.html", left_out=len(records) - len(shown), **values)


def worst_first(records: Sequence[Record]) -> list[Record]:
    """Pairs in error, then by verdict, then by the share of valid pixels; equal ones keep their order."""
    ranks = {word: rank for rank, word in enumerate(VERDICTS)}

    def badness(record: Record) -> tuple[int, float]:
        share = record.quality.get("valid_share")
        return ranks.get(record.verdict, -1), float(share) if isinstance(share, (int, float)) else 1.0

    return sorted(records, key=badness)


def _pair(record: Record, out: Path, read: Callable[[Path], Image]) -> dict[str, Any]:
    """What the template shows of one pair."""
    pictures = [
        _thumbnail(caption, Path(image.path), Path(image.path).as_uri(), read)
        for caption, image in (("source", record.source), ("target", record.target))
    ]
    outputs = record.outputs if record.verdict else {}  # of a pair in error, those are of a former run
    for name in outputs:
        if PurePosixPath(name).suffix.lower() in EXTENSIONS:
            caption = PurePosixPath(name).stem.rpartition("_")[2]
            pictures.append(_thumbnail(caption, out / name, _link(name), read_image))
    files = [(PurePosixPath(name).name, _link(name)) for name in outputs]
    return {"record": record, "verdict": record.verdict or IN_ERROR, "pictures": pictures, "files": files}


def _thumbnail(caption: str, path: Path, link: str, read: Callable[[Path], Image]) -> dict[str, str]:
    """Caption, link and ``data:`` URL; without the URL the picture could not be read."""
    try:
        url = picture_url(reduce_image(to_rgb8(read(path)), THUMBNAIL))
    except Exception:
        # The page is about what went wrong: a picture that cannot be shown, for any reason, is part of it.
        url = ""
    return {"caption": caption, "link": link, "url": url}


def _link(name: str) -> str:
    # "./" keeps a name such as "a:b.png" from being taken for a URL with a scheme.
    return f"./{quote(name, errors='surrogateescape')}"
