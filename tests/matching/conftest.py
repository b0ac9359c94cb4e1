"""The shipped network as a predictor."""

import pytest
import torch


@pytest.fixture(scope="session")
def compact():
    from glualign.checkpoints.load import load_model
    from glualign.matching.predictor import FlowPredictor

    return FlowPredictor(load_model("compact").model, device=torch.device("cpu"), dtype=torch.float32)
