"""A BERT classifier of transformers is shrunk by half: sorted by importance, cut, and distilled from the whole one.

A small BERT of random weights is trained to tell whether a sentence holds a certain word. Half of its heads and hidden
features stay, and the frozen parent teaches all slices for a few epochs::

    python examples/bert_classifier.py
    sharewise inspect examples/bert_classifier.py:factory
"""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import BertConfig, BertForSequenceClassification

WORDS, LENGTH = 20, 10


def sentences(examples: int = 1500, seed: int = 0) -> sw.data.Dataset:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(1, WORDS, (examples, LENGTH), generator=generator)
    labels = (words == 7).any(1).long()
    rows = sw.data.Examples(sw.data.Columns({"input_ids": words, "attention_mask": torch.ones_like(words)}), labels)
    train, test = rows.subset(torch.arange(1200)), rows.subset(torch.arange(1200, examples))
    task = sw.data.classification(2).reading("logits")
    return sw.data.Dataset("certain word", task, "columns", train, sw.data.Sealed(test))


def arguments(rows: sw.data.Examples, place: slice) -> dict[str, Tensor]:
    return {name: column[place] for name, column in rows.inputs.items()}


@functools.cache
def trained(steps: int = 150) -> nn.Module:
    """A classifier, trained in an ordinary way."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertForSequenceClassification(BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, **sizes))
    train = sentences().train
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        start = 64 * step % (len(train) - 64)
        place = slice(start, start + 64)
        loss = F.cross_entropy(model(**arguments(train, place)).logits, train.targets[place])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def factory() -> sw.ElasticModel:
    choices = {
        "bert.encoder.layer.*.intermediate.dense": sw.width([32, 64]),
        "bert.encoder.layer.*.attention": sw.heads([2, 4]),
    }
    return sw.elastic(trained(), choices, example=arguments(sentences().train, slice(2)))


def accuracy(network: nn.Module, rows: sw.data.Examples) -> float:
    with torch.no_grad():
        logits = network.eval()(**arguments(rows, slice(None))).logits
    return float((logits.argmax(1) == rows.targets).double().mean())


def main() -> None:
    data, supernet = sentences(), factory()
    sw.sort_by_importance(supernet, "magnitude")
    cut = sw.extract(supernet, supernet.smallest)
    recipe = sw.methods.spos(epochs=4, candidates=4, optimizer="adam", learning_rate=2e-3)
    result = sw.search(supernet, recipe, data, device="cpu", teacher=sw.Teacher(trained(), weight=1.0))
    half = sw.extract(result.supernet, supernet.smallest)
    test = data.open_test("whole and half")
    for name, network in (("whole", trained()), ("half, cut", cut), ("half, distilled", half)):
        parameters = sum(p.numel() for p in network.parameters())
        print(f"{name}: {parameters:,} parameters, test accuracy {accuracy(network, test):.3f}")


if __name__ == "__main__":
    main()
