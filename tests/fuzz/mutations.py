"""Deterministic damage to files: what discs, downloads and attackers do to them."""

from __future__ import annotations

import random
from collections.abc import Iterator

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0x7FFF, 0xFFFF)


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """``count`` damaged copies of ``data``."""
    generator = random.Random(seed)
    for _ in range(count):
        block = bytearray(data)
        for _ in range(generator.choice((1, 1, 1, 2, 4, 16))):
            _damage(block, generator)
        yield bytes(block)


def _damage(block: bytearray, generator: random.Random) -> None:
    kind = generator.randrange(7)
    # Headers matter most: half of the damage goes into the first 64 bytes.
    reach = min(len(block), 64) if generator.random() < 0.5 else len(block)
    at = generator.randrange(reach) if reach else 0
    if kind == 0 and block:
        block[at] ^= 1 << generator.randrange(8)
    elif kind == 1 and block:
        block[at] = generator.randrange(256)
    elif kind == 2:
        order = generator.choice(("little", "big"))
        size = generator.choice((2, 4, 8))
        value = generator.choice(EXTREMES) % (1 << 8 * size)
        block[at : at + size] = value.to_bytes(size, order)
    elif kind == 3:
        del block[generator.randrange(len(block) + 1) :]
    elif kind == 4:
        del block[at : at + generator.randrange(1, 32)]
    elif kind == 5:
        block[at:at] = generator.randbytes(generator.randrange(1, 32))
    else:
        block[at : at + 4] = str(generator.choice(EXTREMES)).encode()
