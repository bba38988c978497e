"""Data: data sets, the roles that read them, and the batches that come out.

Importing this package does not import torch: names are fetched when they are first used, so that the command
line can list data sets at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharewise.lazy import lazily

if TYPE_CHECKING:
    from sharewise.data.array_file import arrays, arrays_on_disk
    from sharewise.data.augmentation import (
        Augmentation,
        Cutout,
        HorizontalFlip,
        Paired,
        RandomCrop,
        Transform,
        normalise,
    )
    from sharewise.data.batch import Batch
    from sharewise.data.cifar import cifar10, cifar100
    from sharewise.data.columns import Columns
    from sharewise.data.dataset import Dataset, Sealed
    from sharewise.data.embedded import digits
    from sharewise.data.examples import Examples
    from sharewise.data.image_files import folder_on_disk, image_folder, sheets
    from sharewise.data.on_disk import OnDisk, Rows
    from sharewise.data.roles import Role, RoleData, Roles, bilevel, held_out, single_level
    from sharewise.data.sources import SOURCES, Source, load
    from sharewise.data.stream import Stream, evaluation_batches
    from sharewise.data.task import (
        VOID,
        InputKind,
        Moves,
        Objective,
        Pooled,
        Task,
        classification,
        language_modelling,
        pooled,
        regression,
        segmentation,
    )
    from sharewise.data.text_file import byte_text, text
    from sharewise.data.torch_datasets import from_torch

__all__ = [
    "SOURCES",
    "VOID",
    "Augmentation",
    "Batch",
    "Columns",
    "Cutout",
    "Dataset",
    "Examples",
    "HorizontalFlip",
    "InputKind",
    "Moves",
    "Objective",
    "OnDisk",
    "Paired",
    "Pooled",
    "RandomCrop",
    "Role",
    "RoleData",
    "Roles",
    "Rows",
    "Sealed",
    "Source",
    "Stream",
    "Task",
    "Transform",
    "arrays",
    "arrays_on_disk",
    "bilevel",
    "byte_text",
    "cifar10",
    "cifar100",
    "classification",
    "digits",
    "evaluation_batches",
    "folder_on_disk",
    "from_torch",
    "held_out",
    "image_folder",
    "language_modelling",
    "load",
    "normalise",
    "pooled",
    "regression",
    "segmentation",
    "sheets",
    "single_level",
    "text",
]

__getattr__, __dir__ = lazily(__name__, __file__)
