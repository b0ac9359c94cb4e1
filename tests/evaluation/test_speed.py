import numpy as np
import torch

from glualign.evaluation.speed import (
    Contender,
    make_pair,
    model_contender,
    reference_contender,
    speed_document,
    time_contenders,
)
from glualign.network import GLUNet
from tests.networks import tiny_config

CPU = torch.device("cpu")


def counted(name, layout, calls):
    def predict(pairs):
        calls.append(name)
        return [np.zeros((*target.shape[:2], 2), np.float32) for _, target in pairs]

    return Contender(name, "fp32", layout, predict, is_reference=layout == "channels first")


def test_contenders_take_turns_and_the_first_round_does_not_count():
    calls = []
    contenders = [counted("a", "channels first", calls), counted("b", "channels last", calls)]
    timings = time_contenders(contenders, sizes=[(32, 48)], threads=[1, 2], repeat=3)
    assert calls == ["a", "b"] * 8
    assert [(t["model"], t["threads"], t["repeats"]) for t in timings] == [
        ("a", 1, 3), ("b", 1, 3), ("a", 2, 3), ("b", 2, 3)
    ]  # fmt: skip
    assert timings[0]["speedup"] == 1.0
    row = speed_document(timings, "cpu")["rows"][0]
    assert (row["width"], row["height"], row["repeats"]) == (48, 32, 3)


def test_without_a_reference_there_is_no_speed_up():
    (timing,) = time_contenders([counted("a", "channels last", [])], sizes=[(32, 32)], threads=[1], repeat=1)
    assert timing["speedup"] is None


def test_the_number_of_threads_is_restored():
    before = torch.get_num_threads()
    time_contenders([counted("a", "x", [])], sizes=[(32, 32)], threads=[before + 1], repeat=1)
    assert torch.get_num_threads() == before


def test_both_ways_of_running_a_network_answer_the_same_flow():
    # What is timed must be the same work: one network through both code paths.
    pair = make_pair((256, 264))
    torch.manual_seed(0)
    # Of the published kind: compact decides by the best match, and rounding tips that of random weights.
    config = tiny_config()
    network = GLUNet(config).eval()
    (reference,) = reference_contender(CPU, config).predict([pair])
    (ours,) = model_contender("compact", network, "fp32", CPU).predict([pair])
    assert reference.shape == (256, 264, 2)
    np.testing.assert_allclose(ours, reference, atol=1e-2 * max(np.abs(reference).max(), 1))
