"""The table of presets says what the presets are."""

import re

from glualign.matching.options import PRESETS


def test_the_table_is_what_the_presets_are(root):
    page = (root / "docs" / "presets.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \|", page, re.MULTILINE)
    documented = {name: (int(side), search == "yes") for name, side, search in rows}
    assert documented == {name: (preset.max_side, preset.search) for name, preset in PRESETS.items()}
