"""A server on this machine that plays Google Drive, its warning pages and its bad days."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FORM_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p>Google Drive can't scan this file for viruses.</p>
<form id="download-form" action="{base}/download" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="a1b2&amp;c3">
</form></body></html>"""
LINK_PAGE = """<html><head><title>Google Drive - Virus scan warning</title></head><body>
<a id="uc-download-link" href="/uc?export=download&amp;confirm=Zx9-&amp;id={id}">Download anyway</a>
</body></html>"""
QUOTA_PAGE = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p>Too many users have viewed or downloaded this file recently.</p></body></html>"""
LOGIN_PAGE = '<html><a href="https://accounts.google.com/ServiceLogin">Sign in</a></html>'
FOREIGN_PAGE = """<html><body><form id="download-form" action="http://evil.example/download">
<input type="hidden" name="id" value="1"></form></body></html>"""


@dataclass
class FakeDrive:
    """What the server holds and how it misbehaves; tests change it while it runs.

    ``faults`` are used up one per request for the file: ("drop", n) and ("stall", n) send n bytes and
    close or fall silent, ("status", code) answers with an error.
    """

    payload: bytes = b""
    etag: str = '"v1"'
    page: str = "none"
    honour_ranges: bool = True
    content_type: str = "application/octet-stream"
    faults: list[tuple[str, int]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    sent: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def ranges(self) -> list[str]:
        """The Range headers of the requests that reached the file."""
        return [request["range"] for request in self.requests if request["file"] == "yes"]


@contextmanager
def running_drive(payload: bytes = b"") -> Iterator[FakeDrive]:
    drive = FakeDrive(payload)

    class Handler(_Handler):
        state = drive

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    drive.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield drive
    finally:
        drive.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: FakeDrive

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        drive = self.state
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        page = self._page(address.path, query)
        drive.requests.append(
            {
                "path": self.path,
                "range": self.headers.get("Range", ""),
                "if-range": self.headers.get("If-Range", ""),
                "file": "no" if page else "yes",
            }
        )
        if page:
            self._send_page(page.format(base=drive.url, id=query.get("id", "")))
        else:
            self._send_file()

    def _page(self, path: str, query: dict[str, str]) -> str | None:
        drive = self.state
        confirmed = {
            "form": path == "/download" and query.get("uuid") == "a1b2&c3" and query.get("confirm") == "t",
            "link": query.get("confirm") == "Zx9-",
            "none": True,
        }.get(drive.page, False)
        pages = {
            "form": FORM_PAGE,
            "loop": FORM_PAGE,
            "link": LINK_PAGE,
            "quota": QUOTA_PAGE,
            "login": LOGIN_PAGE,
            "foreign": FOREIGN_PAGE,
        }
        return None if confirmed else pages[drive.page]

    def _send_page(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self) -> None:
        drive = self.state
        fault, amount = drive.faults.pop(0) if drive.faults else ("", 0)
        if fault == "status":
            self.send_error(amount)
            return
        start, total = self._start(), len(drive.payload)
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.end_headers()
            return
        body = drive.payload[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", drive.content_type)
        self.send_header("Content-Length", str(len(body)))
        if drive.etag:
            self.send_header("ETag", drive.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        body = body[:amount] if fault else body
        drive.sent += len(body)
        self.wfile.write(body)
        self.wfile.flush()
        if fault == "stall":
            drive.closing.wait(3.0)

    def _start(self) -> int:
        drive = self.state
        wanted = self.headers.get("Range", "")
        guard = self.headers.get("If-Range", drive.etag)
        if not (drive.honour_ranges and wanted) or guard != drive.etag:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))
