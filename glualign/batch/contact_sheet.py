"""One HTML page over a whole batch: thumbnails of each pair, the worst first, linked to its files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from PIL import Image as PillowImage

from glualign.batch.listing import EXTENSIONS
from glualign.batch.manifest import Record
from glualign.batch.summary import Summary, worst_first
from glualign.errors import MissingExtraError
from glualign.files import write_text
from glualign.images import Image, read_image, to_rgb8

THUMBNAIL = 240
"""Longer side of a thumbnail in pixels."""
LIMIT = 300
"""Pairs on one page; with three pictures of some 8 kB each the page stays below 10 MB."""


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a ``data:`` URL (None: could not be read), its caption, and where it leads."""

    caption: str
    link: str
    url: str | None


@dataclass(frozen=True)
class Row:
    """One pair on the page."""

    name: str
    status: str
    verdict: str
    figures: str
    error: str
    pictures: tuple[Picture, ...]
    files: tuple[tuple[str, str], ...]


def write_contact_sheet(
    path: Path,
    records: Sequence[Record],
    summary: Summary,
    *,
    read: Callable[[Path], Image] = read_image,
    workers: int = 2,
) -> None:
    """Write the page; pictures are inside it, links to the outputs are relative to it.

    Args:
        path: of the page; in the output folder, to which the records' outputs are relative.
        records: of the pairs to show; the worst `LIMIT` appear.
        summary: for the head of the page.
        read: decodes sources and targets, as the batch did.
        workers: threads that read images.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: the page cannot be written.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("--report needs Jinja2: pip install 'glualign[report]'") from error
    shown = worst_first(records)[:LIMIT]
    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(lambda record: _row(record, path.parent, read), shown))
    text = resources.files("glualign.batch").joinpath("templates/contact_sheet.html").read_text("utf-8")
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    html = page.render(rows=rows, summary=summary, left_out=len(records) - len(shown), size=THUMBNAIL)
    write_text(path, _printable(html))


def _row(record: Record, out: Path, read: Callable[[Path], Image]) -> Row:
    pictures = [
        _picture(caption, Path(image.path), Path(image.path).as_uri(), read)
        for caption, image in (("source", record.source), ("target", record.target))
    ]
    for name in record.outputs:
        if PurePosixPath(name).suffix.lower() in EXTENSIONS:
            caption = PurePosixPath(name).stem.rpartition("_")[2]
            pictures.append(_picture(caption, out / name, _link(name), read_image))
    return Row(
        name=_printable(record.key),
        status=record.status,
        verdict=record.verdict,
        figures=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _figures(record.quality)),
        error=_printable(record.error or ""),
        pictures=tuple(pictures),
        files=tuple((_printable(PurePosixPath(name).name), _link(name)) for name in record.outputs),
    )


def _figures(quality: Any) -> list[tuple[str, str]]:
    return [
        (name, f"{value:.3g}")
        for name, value in quality.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]


def _picture(caption: str, path: Path, link: str, read: Callable[[Path], Image]) -> Picture:
    try:
        thumbnail = PillowImage.fromarray(to_rgb8(read(path)))
    except Exception:
        # The page is about what went wrong: a picture that cannot be shown is part of it, whatever the
        # reason.
        return Picture(caption, link, None)
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL), PillowImage.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=80)
    return Picture(
        caption, link, f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    )


def _link(name: str) -> str:
    # "./" keeps a name such as "a:b.png" from being taken for a URL with a scheme.
    return f"./{quote(name, errors='surrogateescape')}"


def _printable(text: str) -> str:
    """``text`` without what UTF-8 cannot hold: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
