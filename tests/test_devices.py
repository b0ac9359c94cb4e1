import pytest
import torch

from glualign.cli.options import Aligning
from glualign.devices import choose_dtype, precision_note

CPU = torch.device("cpu")


def aligning(precision: str) -> Aligning:
    return Aligning("compact", "cpu", precision, None, None, "dense", False)


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_the_default_where_it_is_fast_and_warned_about_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fast: bool
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: fast, raising=False)
    assert choose_dtype("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    assert bool(precision_note("bf16", CPU)) is not fast
    assert precision_note("auto", CPU) == precision_note("fp32", CPU) == ""
    for precision in ("auto", "fp32", "bf16"):
        aligning(precision).arguments()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (0 if fast else 1)
    assert all("warning: bf16 is emulated on cpu" in line for line in lines)
