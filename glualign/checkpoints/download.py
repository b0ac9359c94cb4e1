"""Downloading a file from Google Drive within limits of bytes, time and hosts.

Drive answers a request for a large file with a page that warns of missing virus scans; the form or link on it
leads to the file. A lost connection is taken up where it ended, if the file on the server is the same.
"""

from __future__ import annotations

import html
import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from glualign import __version__
from glualign.errors import DownloadError

DRIVE_URL = "https://drive.google.com"
URL_VARIABLE = "GLUALIGN_DRIVE_URL"
"""Environment variable with another address than Drive's, for mirrors and tests."""

ProgressCallback = Callable[[int, "int | None"], None]
"""Called with the bytes that have arrived and the size of the whole file, None while it is unknown."""

_CHUNK_BYTES = 1 << 16
_PAGE_BYTES = 1 << 17
# A warning page leads to the file; more pages than this in a row are a loop.
_MAX_PAGES = 3
# Answers that another attempt may change.
_PASSING_STATUS = {408, 416, 425, 429, 500, 502, 503, 504}
_TRUSTED_HOSTS = ("google.com", "googleusercontent.com")
_REFUSALS = {
    r"quota|too many users": "Google Drive refuses for now: the file was downloaded too often in 24 hours",
    r"servicelogin|you need access": "Google Drive asks for a login: the file is no longer public",
    r"not found|404": "Google Drive no longer has this file",
    r"": "a page arrived that does not lead to the file",
}


class Limits(NamedTuple):
    """What a download may take."""

    bytes: int = 1 << 30  # of the file; the registry knows no sizes, and no official file comes near this
    seconds: float = 3600.0  # in all, whatever the server does
    silence: float = 30.0  # without a byte, after which a connection counts as dead
    attempts: int = 5  # in a row without a single new byte
    backoff: float = 1.0  # seconds before the second try, doubled for each further one


def download(
    file_id: str, stream: BinaryIO, *, limits: Limits | None = None, progress: ProgressCallback | None = None
) -> None:
    """Write the file with Drive's id ``file_id`` to ``stream``, which is empty and can be sought.

    It is left to the caller to check what arrived. A `DownloadError` says that the server refuses, that the
    file is beyond the limits, that there is no connection, or that the disk cannot be written.
    """
    base = (os.environ.get(URL_VARIABLE) or DRIVE_URL).rstrip("/")
    job = _Download(base, stream, limits or Limits(), progress)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            job.run(f"{base}/uc?{urlencode({'export': 'download', 'id': file_id})}")
        except DownloadError as error:
            errors.append(DownloadError(f"{base}: {error}"))
        except Exception as error:  # odd answers upset urllib in many ways
            errors.append(DownloadError(f"{base}: the answer cannot be understood ({_line(error)})"))

    # In a thread of its own, because a server can hold up any single call without end.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        thread.join(job.limits.seconds)
    finally:
        job.stopped.set()
    if thread.is_alive():
        raise DownloadError(f"{base}: the file did not arrive within {job.limits.seconds:.0f} s")
    if errors:
        raise errors[0]


class _Download(urllib.request.HTTPRedirectHandler):
    def __init__(
        self, base: str, stream: BinaryIO, limits: Limits, progress: ProgressCallback | None
    ) -> None:
        self.base, self.stream, self.limits, self.progress = base, stream, limits, progress
        self.stopped = threading.Event()
        self._version: tuple[str, int | None] = ("", None)
        self._opener = urllib.request.build_opener(self)

    def run(self, url: str) -> None:
        """Try until the file is there, while failures may pass; a byte gained shows a live connection."""
        failures = most = 0
        while True:
            try:
                return self._attempt(url)
            except (http.client.HTTPException, OSError) as error:
                trouble = _line(error)
            failures = 1 if self.stream.tell() > most else failures + 1
            most = max(most, self.stream.tell())
            if failures >= self.limits.attempts:
                raise DownloadError(f"{trouble}, {failures} times in a row; try again later")
            if self.stopped.wait(self.limits.backoff * 2 ** (failures - 1)):
                raise DownloadError("stopped")

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Follow a redirect to a trusted address."""
        self._check_host(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def _attempt(self, url: str) -> None:
        headers = {"User-Agent": f"glualign/{__version__}"}
        if self.stream.tell():
            headers["Range"] = f"bytes={self.stream.tell()}-"
        for _ in range(_MAX_PAGES + 1):
            self._check_host(url)
            request = urllib.request.Request(url, headers=headers)
            try:
                answer = self._opener.open(request, timeout=self.limits.silence)
            except urllib.error.HTTPError as error:
                if error.code in _PASSING_STATUS:
                    raise ConnectionError(f"the server answered {error.code}") from None
                page = error.read(_PAGE_BYTES).decode("utf-8", "replace")
                raise DownloadError(f"the server answered {error.code}; {_refusal(page)}") from None
            with answer:
                encoding = answer.headers.get("Content-Encoding", "identity")
                if encoding.lower() != "identity":
                    raise DownloadError(f"the answer is compressed ({encoding:.20}), which was not asked for")
                if "html" not in answer.headers.get("Content-Type", "").lower():
                    return self._receive(answer)
                page = answer.read(_PAGE_BYTES).decode("utf-8", "replace")
            following = _confirmed_url(url, page)
            if following is None:
                raise DownloadError(_refusal(page))
            url = following
        raise DownloadError("one warning page after another arrives instead of the file")

    def _receive(self, answer: Any) -> None:
        """Append what the answer holds; from the beginning when it is not the rest of the same version."""
        begin, total = 0, answer.length
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and match:
            begin, total = int(match[1]), int(match[2])
        version = (answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "", total)
        if begin and (begin != self.stream.tell() or version != self._version):
            self.stream.seek(self.stream.truncate(0))
            raise ConnectionError("the file on the server has changed")
        self._version = version
        self.stream.seek(self.stream.truncate(begin))
        while data := answer.read1(_CHUNK_BYTES):
            begin += len(data)
            if max(begin, total or 0) > self.limits.bytes or self.stopped.is_set():
                raise DownloadError(f"sends {max(begin, total or 0):,} bytes, more than any file of weights")
            try:
                self.stream.write(data)
            except OSError as error:
                raise DownloadError(f"the file cannot be written ({error.strerror})") from error
            if self.progress is not None:
                self.progress(begin, total)
        if total not in (None, begin):
            raise ConnectionError(f"the connection ended after {begin:,} of {total:,} bytes")

    def _check_host(self, url: str) -> None:
        """Refuse to go elsewhere than to the server that was asked, or to Google over TLS."""
        asked, offered = urlsplit(self.base), urlsplit(url)
        host = offered.hostname or ""
        google = any(host == name or host.endswith(f".{name}") for name in _TRUSTED_HOSTS)
        same = (offered.scheme, offered.netloc) == (asked.scheme, asked.netloc)
        if offered.scheme not in ("http", "https") or not (same or (google and offered.scheme == "https")):
            raise DownloadError(f"the answer leads to another server ({url:.80})")


def _confirmed_url(url: str, page: str) -> str | None:
    """The address behind a warning page's "download anyway"; None when the page offers none."""
    action, fields = "", {}
    for tag, text in re.findall(r"<(form|input|a)\b([^>]{0,2000})>", page):
        pairs = re.findall(r'([\w-]{1,40})="([^"]{0,1000})"', text)
        values = {key: html.unescape(value) for key, value in pairs}
        if tag == "form" and values.get("id") == "download-form":
            action = urljoin(url, values.get("action", ""))
        elif tag == "input" and action and values.get("type") == "hidden":
            fields[values.get("name", "")] = values.get("value", "")
        elif tag == "a" and "confirm=" in values.get("href", ""):
            return urljoin(url, values["href"])
    return f"{action}?{urlencode(fields)}" if fields else None


def _refusal(page: str) -> str:
    return next(reason for pattern, reason in _REFUSALS.items() if re.search(pattern, page.lower()))


def _line(error: BaseException) -> str:
    """What went wrong in a few words."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(text.split())[:120]
