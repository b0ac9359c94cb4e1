"""The table of presets says what the presets are."""

import re

from glualign.aligner import PRESETS


def test_the_table_is_what_the_presets_are(root):
    page = (root / "docs" / "presets.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \| (\w+) \| (\w+) \|", page, re.MULTILINE)
    documented = {
        name: (int(passes), search, fallback == "yes", refine)
        for name, passes, search, fallback, refine in rows
    }
    assert documented == {
        name: (preset.global_motion_steps, preset.search, preset.fuse_global_motion, preset.refine)
        for name, preset in PRESETS.items()
    }
