"""How far the flow of pairs that share a forward pass is from that of the same pairs aligned alone.

    python benchmarks/batch_rounding.py
    python benchmarks/batch_rounding.py --preset fast

Two pairs of the examples, in both directions. A batch is summed in another order than a single pair, so its
rounding differs, and it moves the flow most where little can be matched.
"""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np

from glualign import Aligner
from glualign.images import read_image

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAIRS = (("graf3.png", "graf1.png"), ("leuvenB.jpg", "leuvenA.jpg"))


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--preset", default="balanced")
    arguments = parser.parse_args()
    names = [pair for both in PAIRS for pair in (both, both[::-1])]
    pairs = [(read_image(EXAMPLES / source), read_image(EXAMPLES / target)) for source, target in names]
    for precision in ("fp32", "bf16"):
        aligner = Aligner.from_pretrained(preset=arguments.preset, precision=precision)
        together = aligner.align_many(pairs)
        for pair, name, result in zip(pairs, names, together, strict=True):
            alone = aligner.align(*pair)
            apart = np.linalg.norm(result.flow.data - alone.flow.data, axis=2)
            apart = apart[alone.trusted & result.trusted]
            figures = f"mean {apart.mean():.4f}, 99 % within {np.percentile(apart, 99):.4f} px"
            print(f"{precision} {' -> '.join(name)}: {figures}, largest {apart.max():.2f}", flush=True)


if __name__ == "__main__":
    main()
