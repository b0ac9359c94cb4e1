"""Small files in every layout of the official checkpoints."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from glualign.network import CONFIGS, GLUNet


def official_state(model: str = "glunet", *, seed: int = 0) -> OrderedDict[str, torch.Tensor]:
    """A state dict of official shapes, in which every tensor repeats one number: its file stays small."""
    with torch.device("meta"):
        skeleton = GLUNet(CONFIGS[model]).state_dict()
    numbers = torch.rand(len(skeleton), generator=torch.Generator().manual_seed(seed))
    return OrderedDict(
        (key, number.to(slot.dtype).clone().expand(slot.shape))
        for (key, slot), number in zip(skeleton.items(), numbers, strict=True)
    )


def prefixed(state):
    return OrderedDict((f"module.{key}", tensor) for key, tensor in state.items())


@contextmanager
def _pretended_modules(**modules):
    for name, module in modules.items():
        sys.modules[name.replace("__", ".")] = module
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name.replace("__", ".")]


def save_densematching_container(path: Path, state, *, legacy: bool = False) -> None:
    """A training container as DenseMatching writes it: with objects of classes that only it has."""
    constructor_module = types.ModuleType("admin.model_constructor")
    stats_module = types.ModuleType("admin.stats")

    class NetConstructor:
        pass

    class AverageMeter:
        pass

    for cls, module in ((NetConstructor, constructor_module), (AverageMeter, stats_module)):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    constructor = NetConstructor()
    constructor.__dict__ = {
        "fun_name": "glunet_vgg16",
        "fun_module": "models.GLUNet",
        "args": (),
        "kwds": {"md": 4},
    }
    meter = AverageMeter()
    meter.__dict__ = {"history": [np.float64(1.5)], "sum": np.float32(2), "array": np.arange(3.0)}
    container = {
        "epoch": 3,
        "actor_type": "GLUNetBasedActor",
        "net_type": "GLUNetModel",
        "state_dict": state,
        "net_info": None,
        "constructor": constructor,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
        "stats": OrderedDict(train=OrderedDict({"Loss/total": meter})),
        "best_val": np.float64(0.25),
        "epoch_of_best_val": 2,
    }
    with _pretended_modules(
        admin=types.ModuleType("admin"),
        admin__model_constructor=constructor_module,
        admin__stats=stats_module,
    ):
        torch.save(container, path, _use_new_zipfile_serialization=not legacy)
    assert "admin.stats" not in sys.modules


def training_container(state):
    """What the GLU-Net repository's training script saves."""
    return {
        "epoch": 99,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"milestones": [65, 75, 95]},
        "best_loss": torch.tensor(1.25),
    }
