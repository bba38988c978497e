"""A trained Llama is put in order of importance and shrunk to a budget of parameters while it teaches its slices.

A small Llama is trained with transformers on a text and saved as they save it; from there on transformers are not
needed. Heads and hidden features of the network that is read from the folder are sorted, the most important ones first,
so that its slices are its best parts; a few epochs of sampled paths, which learn from the trained network as well,
teach them to stand alone; the best one within the budget is selected on a held-out piece of the text. It reads the tiny
Shakespeare text below `$SHAREWISE_DATA/text` if there is one, and a few embedded lines otherwise::

    python examples/shrink_a_llama.py
    sharewise inspect examples/shrink_a_llama.py:factory
"""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.cost import Parameters
from sharewise.engine import Limit
from sharewise.spaces.language_model.pretrained import llama

LENGTH, BUDGET = 32, 16_000
LINES = """The quick brown fox jumps over the lazy dog, and the dog sleeps on.
Pack my box with five dozen liquor jugs, said the fox to the dog.
How vexingly quick daft zebras jump, thought the dog in its sleep.
"""


def text() -> sw.data.Dataset:
    if os.environ.get("SHAREWISE_DATA"):
        return sw.data.text(length=LENGTH).limited(2048, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "lines.txt").write_text(LINES * 40, encoding="utf-8")
        return sw.data.text(folder, length=LENGTH)


def trained(data: sw.data.Dataset, folder: str, steps: int = 150) -> None:
    """Train a Llama of transformers in an ordinary way, and save it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": LENGTH, "vocab_size": data.task.outputs}
    model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        rows = (torch.arange(32) + 32 * step) % len(data.train)
        logits = model(data.train.inputs[rows]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), data.train.targets[rows].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


def read(data: sw.data.Dataset) -> nn.Module:
    with tempfile.TemporaryDirectory() as folder:
        trained(data, folder)
        return llama(folder)


def shared(network: nn.Module, data: sw.data.Dataset) -> sw.ElasticModel:
    choices = {
        "layers.*": sw.depth([1, 2, 3], name="layers"),
        "layers.*.attention": sw.heads([2, 4]),  # a head of keys serves two of queries
        "layers.*.perceptron.gate": sw.width([16, 32, 48, 64]),
    }
    return sw.elastic(network, choices, example=data.train.inputs[:2])


def factory() -> sw.ElasticModel:
    data = text()
    return shared(read(data), data)


def perplexity(network: nn.Module, data: sw.data.Dataset, reader: str) -> float:
    test = data.open_test(reader)
    with torch.no_grad():
        return float(data.task.metrics["perplexity"](network.eval()(test.inputs), test.targets))


def main() -> None:
    data = text()
    network = read(data)
    supernet = shared(network, data)
    sw.sort_by_importance(supernet, "activation", batches=[(data.train.inputs[:64], data.train.targets[:64])])
    recipe = sw.methods.spos(epochs=6, candidates=30, optimizer="adam", learning_rate=0.002, batch_size=32)
    recipe = replace(recipe, limits=(Limit(Parameters(), BUDGET),))
    result = sw.search(supernet, recipe, data, teacher=sw.Teacher(network), device="cpu")
    cut = sw.extract(supernet, result.architecture)  # of the sorted network, without the epochs of sampled paths
    small = sw.extract(result.supernet, result.architecture)
    rows = {"trained": network, f"cut to {result.architecture}": cut, "the same after sampled paths": small}
    for name, model in rows.items():
        parameters = sum(p.numel() for p in model.parameters())
        print(f"{name}: {parameters:,} parameters, test perplexity {perplexity(model, data, name):.2f}")


if __name__ == "__main__":
    main()
