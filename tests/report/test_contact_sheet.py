import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from glualign.batch import align_batch, current_records, match_folders
from glualign.errors import MissingExtraError, OutputError
from glualign.outputs import check_formats
from glualign.report import contact_sheet as sheet
from tests.batch.batch_fakes import fake_settings, picture, picture_folders

pytest.importorskip("jinja2", reason="the extra `report` is not installed")


class Page(HTMLParser):
    """Collects headings, links and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self._in_heading = False
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if tag == "h2":
            self._in_heading = True
            self.headings.append("")
        elif tag == "a":
            self.links.append(given["href"])
        elif tag == "img":
            self.pictures.append(given["src"])

    def handle_endtag(self, tag) -> None:
        self._in_heading = self._in_heading and tag != "h2"

    def handle_data(self, data) -> None:
        if self._in_heading:
            self.headings[-1] += data


@pytest.fixture
def batch(tmp_path):
    """Two good pairs, a doubtful one, a failed one, and a name that HTML and URLs must not swallow."""
    sources, targets = picture_folders(tmp_path, 2)
    for name, grey in (("dark", 30), ("<b> #1 & ü%", 95)):
        picture(sources / f"{name}.png", grey)
        picture(targets / f"{name}.png")
    (sources / "broken.png").write_bytes(b"")
    picture(targets / "broken.png")
    jobs = match_folders(sources, targets)
    out = tmp_path / "out"
    summary = align_batch(jobs, out, fake_settings())
    return out, current_records(out, jobs), summary


def write(batch) -> tuple[str, Page]:
    out, records, summary = batch
    sheet.write_contact_sheet(out / "report.html", records, summary)
    text = (out / "report.html").read_text("utf-8")
    return text, Page(text)


def test_the_worst_come_first(batch) -> None:
    _, page = write(batch)
    words = [re.sub(r"\s+", " ", heading).strip() for heading in page.headings]
    assert words[:2] == ["broken in error", "dark doubtful"]
    assert len(words) == 5
    assert all(word.endswith("good") for word in words[2:])


def test_the_head_counts_verdicts_and_pairs_in_error(batch) -> None:
    text, _ = write(batch)
    head = re.sub(r"\s+", " ", text[text.index("<header>") : text.index("</header>")])
    assert "5 pairs" in head
    assert "3 good, 1 doubtful, 0 failed, 1 in error." in head


def test_nothing_in_the_page_runs_or_loads(batch) -> None:
    text, _ = write(batch)
    assert "script-src 'none'" in text
    assert "<script" not in text


def test_links_lead_to_files_that_exist_and_pictures_are_inside_the_page(batch) -> None:
    text, page = write(batch)
    out = batch[0]
    relative = [link for link in page.links if link.startswith("./")]
    assert len(relative) >= 4 * 2
    for link in relative:
        assert (out / unquote(link)).is_file()
    absolute = [link for link in page.links if not link.startswith("./")]
    assert all(link.startswith("file:///") and Path(unquote(link[7:])).is_file() for link in absolute)
    assert len(page.pictures) == 4 * 3 + 1  # source, target, warped; of the broken pair the target
    assert all(source.startswith("data:image/webp;base64,") for source in page.pictures)
    assert "<b> #1" not in text
    assert "source: cannot be shown" in re.sub(r"\s+", " ", text)


def test_the_page_has_a_limit_and_says_what_it_leaves_out(batch, monkeypatch) -> None:
    monkeypatch.setattr(sheet, "LIMIT", 2)
    text, page = write(batch)
    assert len(page.headings) == 2
    assert "3 more are in summary.csv" in text


def test_a_page_is_checked_before_its_content_is_made(monkeypatch) -> None:
    check_formats({"report": Path("report.htm")})
    with pytest.raises(OutputError, match=r"is written as \.html or \.htm"):
        check_formats({"report": Path("report.pdf")})
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingExtraError):
        check_formats({"report": Path("report.htm")})


def test_without_jinja_the_message_names_the_extra(batch, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"glualign\[report\]"):
        write(batch)
