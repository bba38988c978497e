"""A search inside a plain training loop: sampled slices first, then gradient search, with every step written out.

Nothing of the loop is sharewise's: data, optimiser and schedule are yours. The supernet is called as any module inside
a block, and what an exact resume needs are the states of your optimiser and of one generator::

    python examples/own_loop.py
    sharewise inspect examples/own_loop.py:factory
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw


def factory() -> sw.ElasticModel:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    choices = {"1": sw.width([8, 16, 32, 64], name="first"), "3": sw.width([8, 16, 32], name="second")}
    return sw.elastic(model, choices, example=torch.randn(2, 1, 8, 8))


def batches(rows: sw.data.Examples, generator: torch.Generator, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(rows), generator=generator)
    return [(rows.inputs[part] / 16, rows.targets[part]) for part in order.split(size)][:-1]


def by_sampling(supernet: sw.ElasticModel, rows: sw.data.Examples, epochs: int = 3) -> None:
    """Every step trains one slice, drawn at random."""
    optimizer = torch.optim.AdamW(supernet.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for images, labels in batches(rows, generator):
            with supernet.sample(generator):
                loss = F.cross_entropy(supernet(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def by_gradients(supernet: sw.ElasticModel, rows: sw.data.Examples, epochs: int = 3) -> sw.Searcher:
    """Every step moves the architecture on one half of the examples and the weights on the other."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    halves = [rows.subset(part) for part in order.chunk(2)]
    generator = torch.Generator().manual_seed(2)
    steps = len(batches(halves[0], generator))
    search = sw.Searcher(supernet, sw.methods.tanglenas_gaea(epochs=epochs), steps_per_epoch=steps)
    optimizer = torch.optim.AdamW(supernet.parameters(), 1e-3)
    while not search.done:
        pairs = zip(batches(halves[0], generator), batches(halves[1], generator), strict=False)
        for (images, labels), (held_out, their_labels) in pairs:
            with search.architecture():
                loss = F.cross_entropy(supernet(held_out), their_labels)
            loss.backward()
            search.move()
            optimizer.zero_grad()
            with search.weights():
                loss = F.cross_entropy(supernet(images), labels)
            loss.backward()
            optimizer.step()
    return search


def main() -> None:
    supernet, data = factory(), sw.data.digits()
    by_sampling(supernet, data.train)
    found = by_gradients(supernet, data.train).best()
    test = data.open_test("after the loop")
    with supernet.under(found), torch.no_grad():
        accuracy = float((supernet.eval()(test.inputs / 16).argmax(1) == test.targets).double().mean())
    print(f"found {found}: accuracy {accuracy:.3f} with the weights of the supernet")


if __name__ == "__main__":
    main()
