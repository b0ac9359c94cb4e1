"""Google Drive as a download server: its confirmation pages, and what it says when it refuses.

Drive answers a request for a large file with a page that warns of missing virus scans. Today the page
holds a form whose hidden fields belong to the request for the file itself; formerly a link, or a cookie whose
value is the ``confirm`` parameter.
"""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from glualign.checkpoints.download import Patience, Progress, WebPageError, download
from glualign.errors import DownloadError

DRIVE_URL = "https://drive.google.com"
URL_VARIABLE = "GLUALIGN_DRIVE_URL"
"""Environment variable with another address than Drive's, for mirrors and tests."""

# A warning page leads to the file; more pages than this in a row are a loop.
_MAX_PAGES = 3
_QUOTA_SIGNS = ("quota exceeded", "too many users have viewed or downloaded", "download quota")
_TRUSTED_HOSTS = ("google.com", "googleusercontent.com")


def download_from_drive(
    file_id: str,
    path: Path,
    *,
    base_url: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring the file with Drive's id ``file_id`` to ``part_path(path)``, whole, and return that path.

    Raises:
        DriveRefusalError: Drive answers with a page that does not lead to the file.
        DownloadError: no connection, or the disk cannot be written.
    """
    base = (base_url or os.environ.get(URL_VARIABLE) or DRIVE_URL).rstrip("/")
    url = f"{base}/uc?{urlencode({'export': 'download', 'id': file_id})}"
    with requests.Session() as session:
        for _ in range(_MAX_PAGES):
            try:
                return download(url, path, session=session, patience=patience, progress=progress)
            except WebPageError as answer:
                following = confirmed_url(answer.page, answer.url, _cookies(session))
                if following is None:
                    raise DriveRefusalError(_refusal(answer.page)) from None
                if not _is_trusted(following, base):
                    raise DriveRefusalError(
                        f"Google Drive's page leads to another server ({following})"
                    ) from None
                url = following
    raise DriveRefusalError("Google Drive shows one warning page after another instead of the file")


def _cookies(session: requests.Session) -> dict[str, str]:
    return {cookie.name: cookie.value or "" for cookie in session.cookies}


def confirmed_url(page: str, page_url: str, cookies: dict[str, str]) -> str | None:
    """The address behind a warning page's "download anyway", or None when the page offers none."""
    parser = _PageParser()
    parser.feed(page)
    if parser.action is not None and parser.fields:
        return _with_query(urljoin(page_url, parser.action), parser.fields)
    if parser.link is not None:
        return urljoin(page_url, parser.link)
    token = next((value for key, value in cookies.items() if key.startswith("download_warning")), None)
    return None if token is None or "confirm=" in page_url else _with_query(page_url, {"confirm": token})


class DriveRefusalError(DownloadError):
    """Google Drive does not hand the file to a program; a person with a browser may still get it."""


class _PageParser(HTMLParser):
    """Finds the download form with its fields, or a confirming link."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.link: str | None = None
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms, their inputs, and links."""
        values = {key: value or "" for key, value in attrs}
        if tag == "form":
            self._inside = values.get("id") == "download-form" or "download" in values.get("action", "")
            if self._inside:
                self.action = values.get("action", "")
        elif tag == "input" and self._inside and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")
        elif tag == "a" and "confirm=" in values.get("href", "") and "export=download" in values["href"]:
            self.link = values["href"]

    def handle_endtag(self, tag: str) -> None:
        """Leave the form."""
        if tag == "form":
            self._inside = False


def _with_query(url: str, fields: dict[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(fields)}"


def _is_trusted(url: str, base: str) -> bool:
    """Whether a page may send us there: the server we asked, or Google over TLS."""
    asked, offered = urlsplit(base), urlsplit(url)
    if (offered.scheme, offered.netloc) == (asked.scheme, asked.netloc):
        return True
    host = offered.hostname or ""
    return offered.scheme == "https" and any(
        host == name or host.endswith(f".{name}") for name in _TRUSTED_HOSTS
    )


def _refusal(page: str) -> str:
    text = page.lower()
    if any(sign in text for sign in _QUOTA_SIGNS):
        return "Google Drive refuses for now: the file was downloaded too often in the last 24 hours"
    if "servicelogin" in text or "you need access" in text:
        return "Google Drive asks for a login: the file is no longer public"
    if "not found" in text or "404" in text:
        return "Google Drive no longer has this file"
    return "Google Drive answered with a page that does not lead to the file"
