"""How papers train what was found: named recipes as plain values, one row each, read without torch.

A recipe gives defaults and nothing else: whatever is said beside it wins, so that `--recipe nasbench201 --epochs 3` is
that training over 3 epochs. Learning rates, warm-ups and drop path are given for the whole of a training, and stretch
or shrink with its epochs; an exponential decay is per epoch, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sharewise.errors import ConfigurationError, unknown_name

__all__ = ["RECIPES", "NamedRecipe", "in_words", "named", "with_recipe"]


@final
@dataclass(frozen=True)
class NamedRecipe:
    """How a paper trains an architecture on its own.

    Args:
        summary: in one line.
        space: whose networks `network` describes; another space keeps its own.
        data: on which it was published.
        source: the code or the paper that the values were read from.
        training: options of a training (`sharewise.TrainingRecipe`) by name.
        network: options of the network by name.
        image_size: height and width of the images, in pixels; `None` for those of the data.
    """

    summary: str
    space: str
    data: str
    source: str
    training: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None

    def network_in(self, space: str) -> Mapping[str, Any]:
        """The options of the network in a space: none in a space of other networks.

        Example:
            >>> named("darts-cifar10").network_in("darts:S3")
            {'channels': 36, 'layers': 20}
            >>> named("darts-cifar10").network_in("nasbench201")
            {}
        """
        return self.network if space.partition(":")[0] == self.space else {}


_DARTS: Mapping[str, Any] = {
    "epochs": 600,
    "batch_size": 96,
    "learning_rate": 0.025,
    "schedule": "cosine",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "drop_path": 0.2,
    "auxiliary_weight": 0.4,
    "cutout": 16,
}

_DARTS_SHORT: Mapping[str, Any] = {**_DARTS, "epochs": 10, "drop_path": 0.0, "auxiliary_weight": 0.0, "cutout": 0}
"""What pays in hundreds of epochs is left out: drop path, cutout, and a head that small images do not fit."""

_MOBILE: Mapping[str, Any] = {
    "epochs": 250,
    "batch_size": 128,
    "learning_rate": 0.1,
    "schedule": "exponential",
    "decay": 0.97,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 3e-5,
    "gradient_clip": 5.0,
    "label_smoothing": 0.1,
    "drop_path": 0.0,
    "auxiliary_weight": 0.4,
    "transforms": "imagenet",
}

_LARGE_BATCH: Mapping[str, Any] = {
    **{name: value for name, value in _MOBILE.items() if name != "decay"},
    "batch_size": 1024,
    "learning_rate": 0.5,
    "schedule": "linear",
    "warm_up": 0.02,
}
"""Five of 250 epochs of warm-up."""

_NASBENCH201: Mapping[str, Any] = {
    "epochs": 200,
    "batch_size": 256,
    "learning_rate": 0.1,
    "schedule": "cosine",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "gradient_clip": 0.0,
}

_CIFAR_NETWORK: Mapping[str, Any] = {"channels": 36, "layers": 20}
_SMALL_NETWORK: Mapping[str, Any] = {"channels": 16, "layers": 8}
_MOBILE_NETWORK: Mapping[str, Any] = {"channels": 48, "layers": 14, "stem": "imagenet"}

RECIPES: Mapping[str, NamedRecipe] = {
    "darts-cifar10": NamedRecipe(
        "DARTS on CIFAR-10: 600 epochs, 36 channels, 20 layers, cutout, drop path 0.2, auxiliary head",
        "darts",
        "cifar10",
        "quark0/darts @ f276dd3, cnn/train.py --auxiliary --cutout",
        _DARTS,
        _CIFAR_NETWORK,
    ),
    "darts-cifar10-short": NamedRecipe(
        "darts-cifar10 in small: 10 epochs, 8 channels, 8 layers, without cutout, drop path and auxiliary head",
        "darts",
        "cifar10",
        "scaled down here; nobody's published training",
        _DARTS_SHORT,
        {"channels": 8, "layers": 8},
    ),
    "pc-darts-cifar10": NamedRecipe(
        "PC-DARTS on CIFAR-10: darts-cifar10 with drop path 0.3",
        "darts",
        "cifar10",
        "yuhuixu1993/PC-DARTS @ b74702f, train.py --auxiliary --cutout",
        {**_DARTS, "drop_path": 0.3},
        _CIFAR_NETWORK,
    ),
    "drnas-cifar10": NamedRecipe(
        "DrNAS on CIFAR-10: darts-cifar10 with drop path 0.3 and batches of 64",
        "darts",
        "cifar10",
        "xiangning-chen/DrNAS @ f2caa4d, DARTS-space/train.py --auxiliary --cutout",
        {**_DARTS, "batch_size": 64, "drop_path": 0.3},
        _CIFAR_NETWORK,
    ),
    "robust-darts": NamedRecipe(
        "RobustDARTS on CIFAR-10, CIFAR-100 and SVHN: darts-cifar10 with 16 channels and 8 layers",
        "darts",
        "cifar10",
        "automl/RobustDARTS @ 3dec3fe, src/evaluation/args.py, scripts/DARTS_eval.sh (--cutout --auxiliary)",
        _DARTS,
        _SMALL_NETWORK,
    ),
    "darts-imagenet": NamedRecipe(
        "DARTS on ImageNet in the mobile setting: 250 epochs, 48 channels, 14 layers, learning rate × 0.97 an epoch",
        "darts",
        "folder",
        "quark0/darts @ f276dd3, cnn/train_imagenet.py --auxiliary",
        _MOBILE,
        _MOBILE_NETWORK,
        image_size=224,
    ),
    "pc-darts-imagenet": NamedRecipe(
        "PC-DARTS on ImageNet: batches of 1,024, learning rate 0.5 after 5 epochs of warm-up, linear to zero",
        "darts",
        "folder",
        "yuhuixu1993/PC-DARTS @ b74702f, train_imagenet.py --auxiliary",
        _LARGE_BATCH,
        _MOBILE_NETWORK,
        image_size=224,
    ),
    "drnas-imagenet": NamedRecipe(
        "DrNAS on ImageNet: pc-darts-imagenet with batches of 768",
        "darts",
        "folder",
        "xiangning-chen/DrNAS @ f2caa4d, DARTS-space/train_imagenet.py --auxiliary",
        {**_LARGE_BATCH, "batch_size": 768},
        _MOBILE_NETWORK,
        image_size=224,
    ),
    "nasbench201": NamedRecipe(
        "NAS-Bench-201: 200 epochs, 16 channels, 5 cells a stage",
        "nasbench201",
        "cifar10",
        "X. Dong and Y. Yang, NAS-Bench-201, ICLR 2020, section 2.3",
        _NASBENCH201,
        {"channels": 16, "cells": 5},
    ),
    "nasbench201-12": NamedRecipe(
        "NAS-Bench-201's short training: the same over 12 epochs",
        "nasbench201",
        "cifar10",
        "X. Dong and Y. Yang, NAS-Bench-201, ICLR 2020, section 2.3",
        {**_NASBENCH201, "epochs": 12},
        {"channels": 16, "cells": 5},
    ),
    "nasbench201-short": NamedRecipe(
        "nasbench201 in small: 12 epochs, 8 channels, 1 cell a stage, batches of 64 at a learning rate in proportion",
        "nasbench201",
        "cifar10",
        "scaled down here; nobody's published training",
        {**_NASBENCH201, "epochs": 12, "batch_size": 64, "learning_rate": 0.025},
        {"channels": 8, "cells": 1},
    ),
    "nats-size": NamedRecipe(
        "NATS-Bench, size space: the training of NAS-Bench-201 over 90 epochs",
        "nats_size",
        "cifar10",
        "X. Dong et al., NATS-Bench, TPAMI 2021, section 3.2",
        {**_NASBENCH201, "epochs": 90},
    ),
    "nasbench101": NamedRecipe(
        "NAS-Bench-101: 108 epochs of RMSProp, 128 channels, 3 stacks of 3 cells",
        "nasbench101",
        "cifar10",
        "C. Ying et al., NAS-Bench-101, ICML 2019, section 2.3 and the authors' configuration",
        {
            "epochs": 108,
            "batch_size": 256,
            "learning_rate": 0.2,
            "schedule": "cosine",
            "optimizer": "rmsprop",
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "gradient_clip": 0.0,
        },
        {"channels": 128, "cells": 3},
    ),
}
"""The recipes by name. Where they deviate from what was published is said in `docs/training.md`."""


def named(name: str) -> NamedRecipe:
    """A recipe by its name.

    Raises:
        ConfigurationError: when there is none; the message lists the legal names.

    Example:
        >>> named("pc-darts-cifar10").training["drop_path"]
        0.3
    """
    if name not in RECIPES:
        raise unknown_name("training recipe", name, RECIPES)
    return RECIPES[name]


def with_recipe(options: Mapping[str, Any]) -> tuple[NamedRecipe | None, dict[str, Any]]:
    """Options of a training, after those of the recipe that they name under `recipe`.

    Args:
        options: by name, and perhaps `recipe`.

    Returns:
        The recipe, or `None` where none is named; and all options, without that name.

    Raises:
        ConfigurationError: when there is no such recipe.

    Example:
        >>> with_recipe({"recipe": "nasbench201-12", "batch_size": 64})[1]["batch_size"]
        64
        >>> with_recipe({"epochs": 3})
        (None, {'epochs': 3})
    """
    own = dict(options)
    name = own.pop("recipe", None)
    if name is None:
        return None, own
    if not isinstance(name, str):
        raise ConfigurationError(f"recipe must name a training recipe, got {name!r}")
    recipe = named(name)
    return recipe, {**recipe.training, **own}


def in_words(configuration: Mapping[str, Any]) -> str | None:
    """The recipe that a training names and in what it differs from it; `None` where it names none.

    Args:
        configuration: of the training, as plain values.

    Example:
        >>> recipe = named("darts-cifar10-short")
        >>> in_words({"recipe": {"recipe": "darts-cifar10-short", **recipe.training, "epochs": 3},
        ...           "network": {"channels": 4, "layers": 8}, "space": "darts"})
        'darts-cifar10-short with epochs 3 instead of 10, channels 4 instead of 8'
    """
    training, network = configuration.get("recipe"), configuration.get("network")
    name = training.get("recipe") if isinstance(training, Mapping) else None
    if not isinstance(name, str) or name not in RECIPES:
        return None
    recipe = RECIPES[name]
    changed = []
    published = ((recipe.training, training), (recipe.network_in(str(configuration.get("space"))), network))
    for values, options in published:
        here = options if isinstance(options, Mapping) else {}
        changed += [f"{key} {here[key]} instead of {v}" for key, v in values.items() if key in here and here[key] != v]
    return f"{name} with {', '.join(changed)}" if changed else name
