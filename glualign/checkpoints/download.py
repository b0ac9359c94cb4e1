"""Downloading one file over HTTP so that dropped, slow and lying connections do no harm.

What has arrived lies in ``<file>.part``, with the server's validator beside it; a later run asks only for the
rest. A web page is never taken for the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.exceptions import ChunkedEncodingError, SSLError

from glualign import __version__
from glualign.errors import DownloadError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that have arrived and the size of the whole file, None while it is unknown."""

# Small, because a chunk that a lost connection cuts short is lost.
_CHUNK_BYTES = 1 << 13
_PAGE_BYTES = 1 << 20
# Answers that another attempt may change.
_PASSING_TROUBLE = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to put up with a bad connection.

    Attributes:
        attempts: tries in a row without a single new byte before giving up.
        connect: seconds to wait for a connection.
        read: seconds without a byte after which a connection counts as dead.
        backoff: seconds before the second try, doubled for each further one.
    """

    attempts: int = 5
    connect: float = 15.0
    read: float = 30.0
    backoff: float = 1.0


class WebPageError(DownloadError):
    """The server answered with a web page instead of the file."""

    def __init__(self, url: str, page: str) -> None:
        super().__init__(f"{url}: a web page arrived instead of the file")
        self.url = url
        self.page = page


class _TransientError(Exception):
    """Something that may go better at the next attempt."""


def part_path(path: Path) -> Path:
    """Where the unfinished download of ``path`` lies."""
    return path.with_name(f"{path.name}.part")


def discard_part(path: Path) -> None:
    """Forget the unfinished download of ``path``."""
    part_path(path).unlink(missing_ok=True)
    _version_path(path).unlink(missing_ok=True)


def download(
    url: str,
    path: Path,
    *,
    session: requests.Session,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring the file at ``url`` to ``part_path(path)``, whole, and return that path.

    It is left to the caller to check what arrived and to rename it. An interrupted call, by a signal or by an
    error, leaves the bytes for the next one, which goes on where this one stopped if the server's validator
    is still the same.

    Raises:
        WebPageError: the answer is a web page.
        DownloadError: refused by the server, no connection after all attempts, or the disk cannot be written.
    """
    patience = patience or Patience()
    failures = 0
    most = _size(part_path(path))
    while True:
        try:
            return _attempt(url, path, session, patience, progress)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            trouble = _reason(error)
        except _TransientError as error:
            trouble = str(error)
        except requests.RequestException as error:
            raise DownloadError(f"{url}: cannot be requested ({error})") from error
        except OSError as error:
            raise DownloadError(
                f"{part_path(path)}: cannot be written ({error.strerror or error})"
            ) from error
        # Every byte gained shows a live connection; only standing still counts against it.
        now = _size(part_path(path))
        failures = 1 if now > most else failures + 1
        most = max(most, now)
        if failures >= patience.attempts:
            raise DownloadError(
                f"{url}: {trouble}, {failures} times in a row; "
                "what arrived is kept, run the command again to go on"
            )
        time.sleep(patience.backoff * 2 ** (failures - 1))


def _attempt(
    url: str, path: Path, session: requests.Session, patience: Patience, progress: Progress | None
) -> Path:
    part = part_path(path)
    part.parent.mkdir(parents=True, exist_ok=True)
    present = _size(part)
    version = _read_version(path)
    # Bytes of which nothing is known may belong to another version of the file.
    resume = bool(present and version)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"glualign/{__version__}"}
    if resume:
        headers["Range"] = f"bytes={present}-"
        if version.validator:
            headers["If-Range"] = version.validator
    timeout = (patience.connect, patience.read)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416 and resume:
            if answer.headers.get("Content-Range", "").strip() == f"bytes */{present}":
                return part
            discard_part(path)
            raise _TransientError("the file on the server has changed")
        _refuse_failures(url, answer)
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise WebPageError(answer.url, _page(answer))
        start, total = _extent(answer, present if resume else 0)
        if start and version.total not in (None, total):
            discard_part(path)
            raise _TransientError("the file on the server has changed")
        if start == 0:
            _write_version(path, answer.headers, total)
        arrived = _receive(answer, part, start, total, progress)
    if total is not None and arrived != total:
        if arrived > total:
            discard_part(path)
        raise _TransientError(f"the connection ended after {arrived:,} of {total:,} bytes")
    return part


def _refuse_failures(url: str, answer: requests.Response) -> None:
    status = answer.status_code
    if status in _PASSING_TROUBLE:
        raise _TransientError(f"the server answered {status} {answer.reason}")
    if status >= 400:
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise WebPageError(answer.url, _page(answer))
        raise DownloadError(f"{url}: the server answered {status} {answer.reason}")


def _extent(answer: requests.Response, wanted_start: int) -> tuple[int, int | None]:
    """First byte that the answer holds, and the size of the whole file where it is known."""
    if answer.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != wanted_start:
            raise DownloadError(f"{answer.url}: the server sent another part of the file than was asked for")
        return wanted_start, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _receive(
    answer: requests.Response, part: Path, start: int, total: int | None, progress: Progress | None
) -> int:
    arrived = start
    with part.open("ab" if start else "wb") as stream:
        for chunk in answer.iter_content(_CHUNK_BYTES):
            stream.write(chunk)
            # At once on disk: what a signal interrupts is there for the next run.
            stream.flush()
            arrived += len(chunk)
            if progress is not None:
                progress(arrived, total)
    return arrived


def _page(answer: requests.Response) -> str:
    body = next(answer.iter_content(_PAGE_BYTES), b"")
    return body.decode(answer.encoding or "utf-8", errors="replace")


@dataclass(frozen=True)
class _Version:
    """What identifies the version of a file on the server: an ETag or date, and the size."""

    validator: str = ""
    total: int | None = None

    def __bool__(self) -> bool:
        return bool(self.validator) or self.total is not None


def _version_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _write_version(path: Path, headers: Mapping[str, str], total: int | None) -> None:
    """Keep the version of which bytes will be on disk; only a strong ETag or a date may guard a range."""
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    _version_path(path).write_text(json.dumps({"validator": validator, "total": total}), encoding="utf-8")


def _read_version(path: Path) -> _Version:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(_version_path(path).read_text(encoding="utf-8"))
        return _Version(str(stored["validator"]), stored["total"])
    return _Version()


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, ChunkedEncodingError):
        return "the connection was dropped"
    if isinstance(error, SSLError):
        return "no trusted connection (TLS certificate)"
    return "no connection"
