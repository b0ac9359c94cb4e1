"""One file over HTTP: dropped, slow, truncated and changing downloads."""

import pytest
import requests

from glualign.checkpoints.download import WebPageError, download, part_path
from glualign.errors import DownloadError

K = 8192
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def server(drive):
    drive.payload = CONTENT
    return drive


@pytest.fixture
def bring(server, tmp_path, hurry):
    """Download the server's file; returns what arrived."""

    def run(progress=None):
        with requests.Session() as session:
            part = download(
                f"{server.url}/uc?id=x", tmp_path / "file", session=session, patience=hurry, progress=progress
            )
        return part.read_bytes()

    return run


def test_a_file_arrives_whole_with_progress(bring, server):
    seen = []
    assert bring(lambda arrived, total: seen.append((arrived, total))) == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [arrived for arrived, _ in seen] == sorted(arrived for arrived, _ in seen)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["drop", "stall"])
def test_a_lost_connection_is_taken_up_where_it_ended(bring, server, fault):
    server.faults = [(fault, 30 * K), (fault, 50 * K)]
    assert bring() == CONTENT
    assert server.ranges == ["", "bytes=245760-", "bytes=655360-"]
    assert server.sent == len(CONTENT)


def test_a_server_that_ignores_ranges_starts_over(bring, server):
    server.honour_ranges = False
    server.faults = [("drop", 30 * K)]
    assert bring() == CONTENT
    assert server.ranges == ["", "bytes=245760-"]


def test_a_server_that_always_drops_is_given_up_and_resumed_later(bring, server, tmp_path):
    server.faults = [("drop", K)] + [("drop", 0)] * 10
    with pytest.raises(DownloadError, match="run the command again"):
        bring()
    assert part_path(tmp_path / "file").stat().st_size == K
    server.faults = []
    server.requests.clear()
    assert bring() == CONTENT
    assert server.ranges == ["bytes=8192-"]
    assert server.requests[0]["if-range"] == '"v1"'


def test_standing_still_counts_but_progress_does_not(bring, server):
    server.faults = [("drop", K)] * 12
    assert bring() == CONTENT
    assert len(server.requests) == 13


def test_a_changed_file_is_not_glued_to_the_old_one(bring, server):
    server.faults = [("drop", 30 * K)] + [("drop", 0)] * 2
    with pytest.raises(DownloadError):
        bring()
    server.payload, server.etag = CONTENT[::-1], '"v2"'
    server.faults = []
    assert bring() == CONTENT[::-1]


def test_without_a_validator_the_size_guards_the_resumption(bring, server):
    server.etag = ""
    server.faults = [("drop", 30 * K)]
    assert bring() == CONTENT
    assert server.ranges == ["", "bytes=245760-"]


def test_without_a_validator_another_size_starts_over(bring, server):
    server.etag = ""
    server.faults = [("drop", 30 * K)] + [("status", 503)] * 2
    with pytest.raises(DownloadError):
        bring()
    server.payload = CONTENT[: len(CONTENT) // 2][::-1]
    assert bring() == server.payload


def test_a_download_that_was_whole_already(bring, server):
    bring()
    assert bring() == CONTENT
    assert server.ranges == ["", f"bytes={len(CONTENT)}-"]
    assert server.sent == len(CONTENT)


def test_an_interruption_keeps_what_arrived(bring, server, tmp_path):
    def interrupt(arrived, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(interrupt)
    present = part_path(tmp_path / "file").stat().st_size
    assert 0 < present < len(CONTENT)
    assert bring() == CONTENT
    assert server.ranges[-1] == f"bytes={present}-"


def test_passing_errors_are_tried_again(bring, server):
    server.faults = [("status", 503), ("status", 429)]
    assert bring() == CONTENT


def test_lasting_errors_are_told(bring, server):
    server.faults = [("status", 503)] * 9
    with pytest.raises(DownloadError, match="503 Service Unavailable, 3 times in a row"):
        bring()


def test_a_web_page_is_no_file(bring, server, tmp_path):
    server.page = "quota"
    with pytest.raises(WebPageError) as caught:
        bring()
    assert "Quota exceeded" in caught.value.page
    assert not part_path(tmp_path / "file").exists()


def test_no_server(tmp_path, hurry):
    with requests.Session() as session, pytest.raises(DownloadError, match="no connection, 3 times"):
        download("http://127.0.0.1:9/x", tmp_path / "file", session=session, patience=hurry)


def test_an_address_that_is_none(tmp_path, hurry):
    with requests.Session() as session, pytest.raises(DownloadError, match="cannot be requested"):
        download("nonsense", tmp_path / "file", session=session, patience=hurry)


def test_a_folder_that_cannot_be_made(server, tmp_path, hurry):
    (tmp_path / "blocked").write_text("a file")
    with requests.Session() as session, pytest.raises(DownloadError, match="cannot be written"):
        download(f"{server.url}/uc", tmp_path / "blocked" / "file", session=session, patience=hurry)
