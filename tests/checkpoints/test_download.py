"""One file over HTTP: dropped, slow, truncated, changing, hostile and endless downloads."""

import errno
import gzip
import io
import os
import re
import socket
import threading
from contextlib import contextmanager

import pytest

from glualign.checkpoints.download import Limits, download
from glualign.errors import DownloadError

K = 65536
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def server(drive):
    drive.payload = CONTENT
    return drive


@pytest.fixture
def bring(server, hurry):
    """Download the server's file; returns what arrived."""

    def run(progress=None):
        stream = io.BytesIO()
        download("x", stream, limits=hurry, progress=progress)
        return stream.getvalue()

    return run


def test_a_file_arrives_whole_with_progress(bring, server):
    seen = []
    assert bring(lambda arrived, total: seen.append((arrived, total))) == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [arrived for arrived, _ in seen] == sorted(arrived for arrived, _ in seen)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["drop", "stall"])
def test_a_lost_connection_is_taken_up_where_it_ended(bring, server, fault):
    server.faults = [(fault, 3 * K), (fault, 5 * K)]
    assert bring() == CONTENT
    assert server.ranges == ["", f"bytes={3 * K}-", f"bytes={8 * K}-"]
    assert server.sent == len(CONTENT)


def test_a_server_that_ignores_ranges_starts_over(bring, server):
    server.honour_ranges = False
    server.faults = [("drop", 3 * K)]
    assert bring() == CONTENT
    assert server.ranges == ["", f"bytes={3 * K}-"]


def test_standing_still_counts_but_progress_does_not(bring, server):
    server.faults = [("drop", K)] * 12
    assert bring() == CONTENT
    assert len(server.requests) == 13
    server.faults = [("drop", K)] + [("drop", 0)] * 10
    with pytest.raises(DownloadError, match="3 times in a row"):
        bring()


@pytest.mark.parametrize("etag", ['"v2"', ""])
def test_a_changed_file_is_not_glued_to_the_old_one(bring, server, etag):
    server.faults = [("drop", 3 * K)]
    if not etag:
        server.etag = ""

    def change(arrived, total):
        if server.payload is CONTENT and arrived == 3 * K:
            server.payload, server.etag = CONTENT[: len(CONTENT) // 2][::-1], etag

    assert bring(change) == CONTENT[: len(CONTENT) // 2][::-1]


def test_passing_errors_are_tried_again(bring, server):
    server.faults = [("status", 503), ("status", 429)]
    assert bring() == CONTENT


def test_lasting_errors_are_told(bring, server):
    server.faults = [("status", 503)] * 9
    with pytest.raises(DownloadError, match="the server answered 503, 3 times in a row"):
        bring()
    server.faults = [("status", 404)]
    with pytest.raises(DownloadError, match="the server answered 404"):
        bring()


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "http://127.0.0.1:99999", "nonsense", "file:///etc"]
)
def test_no_server(hurry, monkeypatch, address):
    monkeypatch.setenv("GLUALIGN_DRIVE_URL", address)
    with pytest.raises(DownloadError, match=address):
        download("x", io.BytesIO(), limits=hurry)


def test_a_full_disk(server, hurry):
    class FullDisk(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DownloadError, match="cannot be written"):
        download("x", FullDisk(), limits=hurry)


# ---- servers that mean harm


@contextmanager
def raw_server(answer):
    """A server that hands every connection, its request read, to ``answer``."""
    listener = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def talk(connection):
        with connection:
            try:
                connection.recv(65536)
                answer(connection.sendall, closing)
            except OSError:
                pass

    def serve():
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closing.set()
        listener.close()


TIGHT = Limits(bytes=1 << 20, seconds=4.0, silence=0.5, attempts=2, backoff=0.01)


def refusal(monkeypatch, answer, limits=TIGHT):
    """The one line that a download from a raw server fails with, and the bytes it left."""
    stream = io.BytesIO()
    with raw_server(answer) as address:
        monkeypatch.setenv("GLUALIGN_DRIVE_URL", address)
        with pytest.raises(DownloadError) as caught:
            download("x", stream, limits=limits)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert len(stream.getvalue()) <= limits.bytes
    return message


def head(*lines, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def endless(first, again):
    def answer(send, closing):
        send(first)
        while not closing.is_set():
            send(again)

    return answer


def slowly(first, again):
    def answer(send, closing):
        send(first)
        while not closing.wait(0.05):
            send(again)

    return answer


CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (endless(head(), bytes(65536)), "more than any file"),
        (endless(head("Transfer-Encoding: chunked"), CHUNK), "more than any file"),
        (endless(head("Content-Length: 1000000000000000"), bytes(65536)), "more than any file"),
        (endless(head("Content-Type: text/html"), b"<form " * 10000), "a page arrived"),
        (slowly(head("Content-Length: 100000"), b"x"), "did not arrive within 4 s"),
        (slowly(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "did not arrive within 4 s"),
        (endless(b"", head(status="100 Continue")), "did not arrive within 4 s"),
        (slowly(head("Content-Type: text/html; charset=punycode"), b"ab-" * 9000), "page|within"),
    ],
    ids=["body", "chunks", "length", "page", "body slowly", "headers slowly", "continue", "punycode"],
)
def test_answers_without_end(monkeypatch, answer, words):
    assert re.search(words, refusal(monkeypatch, answer))


def test_compressed_answers_are_not_unpacked(monkeypatch):
    body = gzip.compress(bytes(50 << 20))
    answer = head("Content-Encoding: gzip", f"Content-Length: {len(body)}") + body
    assert "is compressed" in refusal(monkeypatch, lambda send, closing: send(answer))


@pytest.mark.parametrize(
    "place",
    ["http://example.invalid/x", "https://google.com.evil.invalid/", "file:///etc/passwd", "//other/x"],
)
@pytest.mark.parametrize("how", ["redirect", "form", "link"])
def test_other_servers_are_not_asked(monkeypatch, how, place):
    if how == "redirect":
        answer = head(f"Location: {place}", status="302 Found")
    elif how == "form":
        form = f'<form id="download-form" action="{place}"><input type="hidden" name="id" value="1">'
        answer = head("Content-Type: text/html") + form.encode()
    else:
        answer = head("Content-Type: text/html") + f'<a href="{place}?confirm=t">'.encode()
    message = refusal(monkeypatch, lambda send, closing: send(answer))
    assert "leads to another server" in message or "answered 302" in message


def test_redirects_in_a_circle_end(monkeypatch):
    refusal(monkeypatch, lambda send, closing: send(head("Location: /again", status="302 Found")))


ODD_LINES = [
    "Content-Length: -5",
    "Content-Length: 12abc",
    "Content-Length: " + "9" * 5000,
    "Content-Length: 1e3",
    "Content-Length: 5\r\nContent-Length: 7",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Content-Encoding: br",
    "Content-Encoding: \xff\xfe",
    "Content-Range: bytes 0-1/2",
    "Content-Type: text/html; charset=utf-7",
    "Content-Type: text/html; charset=\x00",
    "Set-Cookie: " + "a=b;" * 20000,
    "X" * 70000,
    ": no name",
    "no colon",
    "ETag: \xe9\r\n folded",
]
ODD_STATUS = [
    "99 x",
    "200",
    "204 No Content",
    "206 Partial",
    "304 x",
    "302 x",
    "401 x",
    "407 x",
    "416 x",
    "999 x",
    "x",
]
ODD_PLACES = [
    "",
    "http://[",
    "http://a b/",
    "http://127.0.0.1:x/",
    "\xff",
    "/" + "x" * 60000,
    "http://",
    "?",
    "http:///x",
]
ODD_ANSWERS = [
    *(head(line) + b"short" for line in ODD_LINES),
    *(head("Content-Length: 90", status=status) + b"short" for status in ODD_STATUS),
    *(head(f"Location: {place}", status="302 Found") for place in ODD_PLACES),
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
    head("Content-Type: text/html")
    + b'<form id="download-form" action="http://["><input type="hidden" name="a">',
    head("Content-Type: text/html")
    + b'<form id="download-form"><input type="hidden" name="\xff" value="&#xD800;">',
    head("Content-Type: text/html") + b"\xff\xfe<html>\x00",
]


@pytest.mark.parametrize("number", range(len(ODD_ANSWERS)))
def test_odd_answers_are_one_line_or_a_file(monkeypatch, number):
    """Whatever a server says, it is our error, or bytes that the caller checks."""
    stream = io.BytesIO()
    with raw_server(lambda send, closing: send(ODD_ANSWERS[number])) as address:
        monkeypatch.setenv("GLUALIGN_DRIVE_URL", address)
        message = ""
        try:
            download("x", stream, limits=TIGHT)
        except DownloadError as error:
            message = str(error)
    assert "\n" not in message
    assert len(message) < 400
    assert len(stream.getvalue()) < 100
