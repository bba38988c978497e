"""The data set that travels inside the package, so that everything can be tried without fetching anything."""

from __future__ import annotations

from importlib import resources

import numpy as np
import torch

from sharewise.data.augmentation import Augmentation, RandomCrop
from sharewise.data.dataset import Dataset, Examples, Sealed, provenance
from sharewise.data.task import classification

__all__ = ["digits"]


def digits() -> Dataset:
    """Read the built-in handwritten digits: 1,437 training and 360 test images of 8×8 grey pixels.

    From the "Optical Recognition of Handwritten Digits" data set of the UCI Machine Learning Repository (E.
    Alpaydin and C. Kaynak, 1998), licence CC BY 4.0, the 1,797 images that scikit-learn ships. Grey levels
    0…16 are scaled to 0…255. The split into training and test is stratified and fixed in the file: no seed
    changes it.

    Returns:
        The data set; recommended augmentation: crop with padding 1, and no flip, since a mirrored digit is no
        digit.

    Example:
        >>> data = digits()
        >>> data.train
        Examples(1437, inputs (1, 8, 8) uint8, targets () int64)
    """
    with (resources.files("sharewise.data") / "digits.npz").open("rb") as file, np.load(file) as archive:
        levels, labels, test_index = archive["images"], archive["labels"], archive["test_index"]
    images = torch.from_numpy(np.rint(levels * (255 / 16)).astype(np.uint8))[:, None]
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[torch.from_numpy(test_index.astype(np.int64))] = True
    everything = Examples(images, torch.from_numpy(labels.astype(np.int64)))
    train, test = (everything.subset(part.nonzero().flatten()) for part in (~is_test, is_test))
    source = (
        "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
        "Repository, 1998, doi:10.24432/C50P49"
    )
    return Dataset(
        name="digits",
        task=classification(10),
        input_kind="image",
        train=train,
        test=Sealed(test),
        class_names=tuple("0123456789"),
        augmentation=Augmentation(before=(RandomCrop(1),)),
        provenance=provenance(source, "CC BY 4.0", train, test),
    )
