"""Models that read what is loaded by the version of their modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import sharewise as sw
from sharewise.testing import check_model


class Versioned(nn.Sequential):
    """As MNASNet of torchvision, it loads nothing that does not say its version."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("version") not in (1, 2):
            raise ValueError("version should be set to 1 or 2")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_an_extracted_network_is_loaded_with_the_versions_of_its_modules() -> None:
    model = Versioned(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    check_model(sw.elastic(model, {"0": sw.width([4, 8])}, example=torch.randn(2, 4)))
