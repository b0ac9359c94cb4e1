"""The Python in the documentation runs as it stands."""

import re

import cv2
import pytest


@pytest.mark.parametrize("document", ["README.md", "docs/library.md"])
def test_python_blocks_run_in_order(document, root, examples, tmp_path, monkeypatch):
    for name, example in (("source.jpg", "graf1.png"), ("target.jpg", "graf3.png")):
        picture = cv2.resize(cv2.imread(str(examples / example)), (200, 160), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / name), picture)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (root / document).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), namespace)
    assert (tmp_path / "out" / "source_warped.jpg").is_file()
