"""A supernet is trained by Lightning: the two lines of the block stand in `training_step`, and nothing else changes.

The draws come from one generator, whose state is kept in the checkpoint of Lightning, so that a resume draws the same
architectures (`pip install lightning`)::

    python examples/in_lightning.py
    sharewise inspect examples/in_lightning.py:factory
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sharewise as sw


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    choices = {"1": sw.width([8, 16, 32, 64], name="first"), "3": sw.width([8, 16, 32], name="second")}
    return sw.elastic(model, choices, example=torch.randn(2, 1, 8, 8))


def loader(rows: sw.data.Examples) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(rows.inputs / 16, rows.targets), 64, shuffle=True, generator=generator)


def main() -> None:
    import lightning

    class Sampled(lightning.LightningModule):
        def __init__(self, supernet: sw.ElasticModel) -> None:
            super().__init__()
            self.supernet, self.generator = supernet, torch.Generator().manual_seed(0)

        def training_step(self, batch: list[Tensor], number: int) -> Tensor:
            images, labels = batch
            with self.supernet.sample(self.generator):
                return F.cross_entropy(self.supernet(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 3e-3)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["generator"] = self.generator.get_state()

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.generator.set_state(checkpoint["generator"])

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    supernet, data = factory(), sw.data.digits()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=4, accelerator="cpu", **quiet)
    trainer.fit(Sampled(supernet), loader(data.train))
    test = data.open_test("after the training")
    for architecture in (supernet.smallest, supernet.largest):
        with supernet.under(architecture), torch.no_grad():
            accuracy = float((supernet.eval()(test.inputs / 16).argmax(1) == test.targets).double().mean())
        print(f"{architecture}: accuracy {accuracy:.3f} with shared weights")


if __name__ == "__main__":
    main()
