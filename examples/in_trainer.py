"""A small GPT of transformers is trained as a supernet by their `Trainer`, and shrunk by half under its own teacher.

`compute_loss` is called within the block; what is distilled is written beside it, since the loop is yours
(`pip install transformers accelerate`)::

    python examples/in_trainer.py
    sharewise inspect examples/in_trainer.py:factory
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import sharewise as sw

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import GPT2Config, GPT2LMHeadModel

LENGTH, TOKENS = 12, 16


class Counting(Dataset[dict[str, Tensor]]):
    """Every piece counts on by three from a random number, modulo sixteen, with a mistake here and there."""

    def __init__(self, pieces: int = 512, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randint(TOKENS, (pieces, 1), generator=generator)
        mistakes = torch.rand(pieces, LENGTH, generator=generator) < 0.05
        self.pieces = (start + 3 * torch.arange(LENGTH) + mistakes) % TOKENS

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"input_ids": self.pieces[place], "labels": self.pieces[place]}


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LENGTH, "vocab_size": TOKENS}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    choices = {"transformer.h.*.mlp.c_fc": sw.width([32, 64, 128]), "transformer.h.*": sw.depth([1, 2], name="depth")}
    example = {"input_ids": Counting().pieces[:2], "use_cache": False}
    return sw.elastic(model, choices, example=example)


def loss_of(network: Any, pieces: Tensor) -> tuple[Tensor, Tensor]:
    logits = network({"input_ids": pieces, "use_cache": False}).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), pieces[:, 1:].flatten()), logits


def trained(supernet: sw.ElasticModel, teacher: sw.ElasticModel | None, epochs: int) -> None:
    """Train by the `Trainer`: the largest network alone, or slices that are drawn and learn from a teacher."""
    from transformers import Trainer, TrainingArguments

    class Searching(Trainer):
        generator = torch.Generator().manual_seed(0)

        def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
            pieces = inputs["input_ids"]
            if teacher is None:
                with supernet.under(supernet.largest):
                    return loss_of(model, pieces)[0]
            with teacher.under(teacher.largest), torch.no_grad():
                wanted = loss_of(teacher, pieces)[1].softmax(-1)
            with supernet.sample(self.generator):
                loss, logits = loss_of(model, pieces)
            return loss + F.kl_div(logits.log_softmax(-1), wanted, reduction="none").sum(-1).mean()

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet = {
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "remove_unused_columns": False,
        }
        arguments = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=5e-3, **quiet
        )
        Searching(model=supernet, args=arguments, train_dataset=Counting()).train()


def main() -> None:
    supernet = factory()
    trained(supernet, None, epochs=4)
    teacher = copy.deepcopy(supernet).eval()
    trained(supernet, teacher, epochs=4)
    pieces = Counting(128, seed=1).pieces
    for name, network, architecture in (
        ("whole", teacher, teacher.largest),
        ("half, cut", teacher, teacher.smallest),
        ("half, distilled", supernet, supernet.smallest),
    ):
        with network.under(architecture), torch.no_grad():
            loss = float(loss_of(network.eval(), pieces)[0])
        print(f"{name}, {architecture}: {loss:.3f} nats per token")


if __name__ == "__main__":
    main()
