"""Check that every relative link and picture in the repository's Markdown leads somewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
ELSEWHERE = ("http://", "https://", "mailto:", "data:")


def documents(root: Path = ROOT) -> list[Path]:
    """The Markdown files that readers see: everything but hidden folders, environments and outputs."""
    skipped = {"out", "build", "dist", "venv", "node_modules"}
    return sorted(
        path
        for path in root.rglob("*.md")
        if not any(part.startswith(".") or part in skipped for part in path.relative_to(root).parts)
    )


def broken_links(document: Path) -> Iterator[str]:
    """The links of one document that lead nowhere, each with the reason."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    for match in LINK.finditer(text):
        target = match.group(1) or match.group(2)
        if target.startswith(ELSEWHERE):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / unquote(name)).resolve() if name else document
        if not path.exists():
            yield f"{target}: no such file"
        elif anchor and path.suffix == ".md" and anchor not in anchors(path):
            yield f"{target}: no such heading"


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    found: dict[str, int] = {}
    result = set()
    for heading in HEADING.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        result.add(f"{slug}-{count}" if count else slug)
    return result


def main() -> None:
    """Print every broken link; exit with 1 if there is one."""
    problems = [
        f"{document.relative_to(ROOT)}: {problem}"
        for document in documents()
        for problem in broken_links(document)
    ]
    print("\n".join(problems) if problems else "all links lead somewhere")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
