"""Documentation that is generated is up to date, and links lead somewhere."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("script", ["build_cli_reference.py", "build_recipe_reference.py"])
def test_the_references_are_up_to_date(root, script):
    finished = subprocess.run(
        [sys.executable, f"tools/{script}", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_a_changed_page_is_noticed(tool, tmp_path, monkeypatch):
    reference = tool("build_cli_reference")
    page = next(iter(reference.pages()))
    copy = {tmp_path / path.name: text for path, text in reference.pages().items()}
    for path, text in copy.items():
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(reference, "pages", lambda: copy)
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    monkeypatch.setattr(tool("pages"), "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["build_cli_reference.py", "--check"])
    reference.main()
    (tmp_path / page.name).write_text("edited by hand", encoding="utf-8")
    with pytest.raises(SystemExit, match="differs"):
        reference.main()


def test_every_key_of_a_recipe_has_a_meaning(root):
    rows = [line for line in (root / "docs" / "recipes.md").read_text("utf-8").splitlines() if "| `" in line]
    assert len(rows) > 40
    for row in rows:
        assert len(row.strip("| ").rsplit(" | ", 1)[1]) > 5, row


def test_internal_links_resolve(tool):
    links = tool("check_links")
    assert [f"{path.name}: {link}" for path in links.documents() for link in links.broken_links(path)] == []


def test_a_broken_link_is_found(tool, tmp_path):
    links = tool("check_links")
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n[a](#one-two) [b](#three) [c](gone.md) ![d](gone.png)\n```\n[e](code.md)\n```\n"
    )
    assert list(links.broken_links(page)) == [
        "#three: no such heading",
        "gone.md: no such file",
        "gone.png: no such file",
    ]


def test_the_overview_links_every_page(root):
    overview = (root / "docs" / "index.md").read_text("utf-8")
    pages = {path.name for path in (root / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in overview} == set()
