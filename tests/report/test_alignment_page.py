import base64
import hashlib
import io
import json
import re
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as PillowImage

from glualign.errors import FlowError, MissingExtraError
from glualign.flow import Flow
from glualign.images import Image
from glualign.report.alignment import build_report, correlation, read_summary, saved_alignment
from tests.report.fakes import QUALITY, fake_alignment, texture

pytest.importorskip("jinja2", reason="the report needs: pip install 'glualign[report]'")


class Page(HTMLParser):
    """Collects what a test asks about: tags with attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.stack = [], "", []
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img", "input", "br"}:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack):
            self.text += " " + " ".join(data.split())

    def images(self):
        return {attrs["alt"]: attrs["src"] for tag, attrs in self.tags if tag == "img"}


def decoded(url):
    kind, data = url.split(",", 1)
    assert kind == "data:image/webp;base64"
    return np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def squeezed(text):
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def alignment():
    return fake_alignment()


def test_the_report_is_one_well_formed_file_that_refers_to_nothing_outside(tmp_path, alignment):
    path = tmp_path / "report.html"
    build_report(alignment, path)
    assert list(tmp_path.iterdir()) == [path]
    page = Page(path)
    assert page.stack == []
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, attrs[name])
    content = path.read_text("utf-8")
    assert "http://" not in content
    assert "https://" not in content
    assert "url(" not in content
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy


def test_only_the_script_of_the_page_may_run(tmp_path, alignment):
    build_report(alignment, tmp_path / "report.html", title="<script>alert(1)</script>")
    content = (tmp_path / "report.html").read_text("utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in content
    assert "'unsafe-inline'; script" in content, "styles only"


def test_the_pictures_show_the_pair_and_the_flow(tmp_path, alignment):
    build_report(alignment, tmp_path / "report.html")
    images = Page(tmp_path / "report.html").images()
    target = decoded(images["Target: target.png"])
    assert target.shape == (140, 200, 3)
    assert np.abs(target.astype(int) - alignment.target.pixels).mean() < 4
    warped = decoded(images["Source warped onto the target: left <&> right.png"])
    assert np.abs(warped[25:].astype(int) - target[25:]).mean() < 4
    difference = decoded(images["Difference of target and warped source"])[25:].astype(int)
    assert np.abs(difference[..., 0] - difference[..., 1]).mean() < 4
    for name in ("Flow", "Deformed grid", "Trusted", "Confidence", "Length of the flow", "Area and folds"):
        assert decoded(images[name]).shape == (140, 200, 3)


def test_names_and_commands_are_escaped(tmp_path, alignment):
    command = "glualign report '<script>alert(1)</script>' b.png -o report.html"
    build_report(alignment, tmp_path / "report.html", command=command)
    content = (tmp_path / "report.html").read_text("utf-8")
    assert "<script>alert(1)" not in content
    page = Page(tmp_path / "report.html")
    assert command in page.text
    assert "left <&> right.png on target.png" in page.text


def test_figures_are_printed_with_units(tmp_path, alignment):
    build_report(alignment, tmp_path / "report.html", title="Tile 17")
    text = squeezed(Page(tmp_path / "report.html").text)
    for words in (
        "Tile 17",
        "Verdict: good",
        f"likely right. {100 * alignment.trusted.mean():.1f} %",
        f"source reaches. {100 * alignment.valid.mean():.1f} %",
        "Median motion",
        "13.4 px",  # hypot(12, 6)
        "forward and backward flow. 0.42 px",
        "transform explains. 91.3 %",
        "Model compact",
        "Network 3.22 s",
        "Read under 0.01 s",
        "220 x 160 px",
        "200 x 140 px",
        "Transform, target to source",
    ):
        assert words in text, words


def test_what_is_not_known_is_left_out(tmp_path, alignment):
    quality = replace(QUALITY, median_error=None, inlier_share=None)
    build_report(replace(alignment, quality=quality, transform=None), tmp_path / "report.html")
    text = Page(tmp_path / "report.html").text
    assert "Median error" not in text
    assert "Inlier share" not in text
    assert "Transform" not in text
    assert "None" not in text
    assert "Command" not in text


def test_large_images_are_shown_at_screen_size(tmp_path, alignment):
    build_report(alignment, tmp_path / "report.html", max_side=100)
    images = Page(tmp_path / "report.html").images()
    assert {decoded(url).shape for name, url in images.items() if name != "Colour wheel"} == {(70, 100, 3)}
    assert "13.4 px" in Page(tmp_path / "report.html").text, "figures are those of the full size"


def test_a_saved_flow_gives_a_report_without_verdict(tmp_path, alignment):
    bare = Flow(alignment.flow.data)
    saved = saved_alignment(alignment.source, alignment.target, bare, "flow.flo")
    assert repr(saved).endswith(": a saved flow>")
    assert "warped (a saved flow)" in saved._repr_html_()
    assert saved.summary()["quality"] is None
    assert saved.flow.source_size == (160, 220)
    build_report(saved, tmp_path / "report.html")
    text = Page(tmp_path / "report.html").text
    assert "Verdict" not in text
    assert "flow.flo" in text


def test_a_saved_flow_keeps_verdict_mask_and_confidence(tmp_path, alignment):
    """The page of a flow with everything that was kept says what the page of the alignment says."""
    summary = tmp_path / "warp.json"
    content = {
        "model": "compact",
        "device": "cpu",
        "quality": asdict(QUALITY) | {"verdict": "doubtful"},
        "transform": alignment.transform.tolist(),
        "timings": {"network": 3.217},
        **{role: {"size": getattr(alignment, role).size} for role in ("source", "target")},
    }
    summary.write_text(json.dumps(content))
    saved = saved_alignment(
        alignment.source,
        alignment.target,
        Flow(alignment.flow.data),
        "flow.flo",
        mask=alignment.trusted,
        confidence=alignment.confidence,
        summary=read_summary(summary, alignment.source, alignment.target),
    )
    np.testing.assert_array_equal(saved.trusted, alignment.trusted)
    build_report(saved, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    text = squeezed(page.text)
    for words in (
        "Verdict: doubtful",
        f"likely right. {100 * alignment.trusted.mean():.1f} %",
        "forward and backward flow. 0.42 px",
        "Model compact, flow from flow.flo",
        "Network 3.22 s",
        "Transform, target to source",
    ):
        assert words in text, words
    assert "Confidence" in page.images()


SOURCE = Image(np.zeros((20, 30, 3), np.uint8))


def test_a_summary_of_another_pair_is_refused(tmp_path):
    sizes = {"source": {"size": [20, 30]}, "target": {"size": [21, 30]}}
    (tmp_path / "summary.json").write_text(json.dumps({"quality": asdict(QUALITY), **sizes}))
    with pytest.raises(FlowError, match=r"summary\.json: is of another pair"):
        read_summary(tmp_path / "summary.json", SOURCE, SOURCE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"quality": {"verdict": "good"}}',
        json.dumps({"quality": {**asdict(QUALITY), "verdict": "<script>"}}),
        json.dumps({"quality": {**asdict(QUALITY), "verdict": ["good"]}}),
        json.dumps({"quality": asdict(QUALITY), "transform": [[1, 2], [3]]}),
        json.dumps({"quality": asdict(QUALITY), "timings": {"network": "long"}}),
        "[" * 100_000,
    ],
)
def test_what_is_no_summary_is_refused(tmp_path, text):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(FlowError, match=r"summary\.json: not a summary"):
        read_summary(path, SOURCE, SOURCE)
    with pytest.raises(FlowError, match=r"none\.json: cannot be read"):
        read_summary(tmp_path / "none.json", SOURCE, SOURCE)


@pytest.mark.parametrize("what", ["mask", "confidence"])
def test_maps_of_another_size_are_refused(alignment, what):
    maps = {what: np.ones((50, 60), np.float32)}
    with pytest.raises(FlowError, match=rf"the {what}.* is 60 x 50 and the flow 200 x 140"):
        saved_alignment(alignment.source, alignment.target, alignment.flow, **maps)


def test_a_flow_of_other_images_is_refused(alignment):
    with pytest.raises(FlowError, match="target is 200 x 100"):
        saved_alignment(alignment.source, Image(texture(100, 200)), alignment.flow)


def test_missing_jinja_names_the_extra(tmp_path, alignment, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"glualign\[report\]"):
        build_report(alignment, tmp_path / "report.html")


def test_correlation_ignores_brightness_and_contrast():
    picture = texture(50, 60)
    everywhere = np.ones((50, 60), bool)
    assert correlation(picture, picture // 2 + 30, everywhere) == pytest.approx(1, abs=0.001)
    assert correlation(picture, 255 - picture, everywhere) == pytest.approx(-1, abs=0.001)
    assert correlation(picture, np.zeros_like(picture), everywhere) is None
    assert correlation(picture, picture, np.zeros((50, 60), bool)) is None
