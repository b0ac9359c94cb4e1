"""The table of presets says what the presets are."""

import re

from glualign.matching.options import PRESETS


def test_the_table_is_what_the_presets_are(root):
    page = (root / "docs" / "presets.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \| (\w+) \|", page, re.MULTILINE)
    documented = {name: (int(side), search == "yes", refine) for name, side, search, refine in rows}
    assert documented == {
        name: (preset.max_side, preset.search, preset.refine) for name, preset in PRESETS.items()
    }
