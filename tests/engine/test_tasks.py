"""A table and a text run through the unchanged loop; so does a space that only this file knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.data import Dataset, Examples, Sealed, classification, language_modelling, regression
from sharewise.errors import ConfigurationError
from sharewise.methods import build
from sharewise.space import Architecture, Choice, Space
from sharewise.spaces import load
from sharewise.supernet import Gates, MixedOperation, Networks, Supernet, extract
from sharewise.testing import check_method, check_relaxation, check_space, check_supernet, methods_of, small_arguments

CONTEXTS = ("none", "previous", "mean", "convolution")
ACTIVATIONS = ("identity", "relu", "tanh")


class Previous(nn.Module):
    """Each position sees the one before it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]


class Mean(nn.Module):
    """Each position sees the mean of what came before, itself included."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]


class Convolution(nn.Module):
    """A causal convolution over three positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv1d(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(nn.functional.pad(x.transpose(1, 2), (2, 0)))
        return out.transpose(1, 2)


def operation(name: str, width: int) -> nn.Module:
    return {
        "previous": Previous,
        "mean": Mean,
        "identity": nn.Identity,
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "convolution": lambda: Convolution(width),
    }[name]()


class CharacterNetwork(nn.Module):
    def __init__(self, context: str, activation: str, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.context = operation(context, width) if context != "none" else None
        self.norm = nn.LayerNorm(width)
        self.activation = operation(activation, width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        if self.context is not None:
            x = x + self.context(x)
        out: Tensor = self.head(self.activation(self.norm(x)))
        return out


@dataclass(frozen=True)
class CharacterOptions:
    width: int = 8


class CharacterSupernet(Supernet):
    def __init__(self, space: Space, input_shape: Sequence[int], outputs: int, options: CharacterOptions) -> None:
        super().__init__()
        self.space, self.relaxation, self.options, self.outputs = space, space.relaxation, options, outputs
        width = options.width
        context, activation = self.relaxation.decisions
        self.embedding = nn.Embedding(outputs, width)
        self.context = MixedOperation(context, {name: operation(name, width) for name in CONTEXTS if name != "none"})
        self.norm = nn.LayerNorm(width)
        self.activation = MixedOperation(activation, {name: operation(name, width) for name in ACTIVATIONS})
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        x = self.embedding(inputs)
        seen = self.context(x, gates["context"])
        out: Tensor = self.head(self.activation(self.norm(x if seen is None else x + seen), gates["activation"]))
        return out

    def plain(self, architecture: Architecture) -> nn.Module:
        return plain(architecture, (), self.outputs, self.options)


def plain(
    architecture: Architecture, input_shape: Sequence[int], outputs: int, options: CharacterOptions
) -> CharacterNetwork:
    return CharacterNetwork(str(architecture["context"]), str(architecture["activation"]), outputs, options.width)


NETWORKS = Networks(CharacterOptions, CharacterSupernet, plain, ("text",))
CHARACTERS = Space("characters", (Choice("context", CONTEXTS), Choice("activation", ACTIVATIONS)), networks=__name__)


def text() -> Dataset:
    """A language in which the character after next repeats, so that context is worth something."""
    line = "abcabcbcacabacb" * 60
    ids = torch.tensor([ord(c) - ord("a") for c in line])
    windows = ids.unfold(0, 9, 5)
    examples = Examples(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
    return Dataset("abc", language_modelling(3), "text", examples, Sealed(examples), class_names=tuple("abc"))


def table(task: str) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 6, generator=generator)
    score = x[:, 0] * x[:, 1] + x[:, 2]
    if task == "regression":
        examples = Examples(x, torch.stack([score, -score], dim=1))
        return Dataset("table", regression(2), "table", examples, Sealed(examples))
    examples = Examples(x, (score > 0).long())
    return Dataset("table", classification(2), "table", examples, Sealed(examples))


def arguments(method: str) -> dict[str, Any]:
    return small_arguments(method)


def test_the_character_space_keeps_all_contracts() -> None:
    check_space(CHARACTERS)
    check_relaxation(CHARACTERS)
    data = text()
    supernet = sw.build_supernet(CHARACTERS, data.input_shape, 3)
    check_supernet(supernet, data.train.inputs[:6])
    check_method(build("gdas"), CHARACTERS, data)


@pytest.mark.parametrize("method", methods_of(CHARACTERS))
def test_language_modelling(method: str) -> None:
    data = text()
    result = sw.search(CHARACTERS, build(method, arguments(method)), data, device="cpu", gap_examples=16)
    assert set(result.architecture) == {"context", "activation"}
    final = [record for record in result.state.history if record["event"] == "epoch"][-1]
    terms = 2 if method == "progressive-shrinking" else 1  # towards the targets and towards the teacher
    assert 0 < final["weights_loss"] < 2 * terms
    assert result.state.ledger.entries["weights"].multiply_accumulates > 0
    assert data.openings == ()
    network = extract(result.state.supernet, result.architecture).eval()
    assert network(data.train.inputs[:2]).shape == (2, 8, 3)


def test_learning_a_language_beats_guessing() -> None:
    result = sw.search(
        CHARACTERS, build("gaea-erm", {"epochs": 12, "batch_size": 16, "learning_rate": 0.3}), text(), device="cpu"
    )
    final = result.state.history[-1]
    assert final["gap"]["supernet"]["loss"] < 0.9, "guessing costs log 3 = 1.0986 nats"
    assert result.architecture["context"] != "none"


@pytest.mark.sweep(3)
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(
    ("space", "method"), [(s, m) for s in ("toy-tied-width", "toy-two-inputs") for m in methods_of(load(s))]
)
def test_tables(method: str, task: str, space: str) -> None:
    data = table(task)
    result = sw.search(load(space), build(method, arguments(method)), data, device="cpu", gap_examples=16)
    assert load(space).architecture(dict(result.architecture)) == result.architecture
    if method == "spos":
        key, sign = ("loss", 1) if task == "regression" else ("accuracy", -1)
        scores = [sign * score[key] for _, score in result.selected.candidates]
        assert scores == sorted(scores), "the best candidate comes first, whichever direction is better"


def test_networks_refuse_inputs_of_another_kind() -> None:
    with pytest.raises(ConfigurationError, match="take text inputs, but data 'table' holds table inputs"):
        sw.search(CHARACTERS, build("darts"), table("regression"), device="cpu")
    with pytest.raises(ConfigurationError, match="take image inputs, but data 'table'"):
        sw.search(load("nasbench201"), build("darts"), table("regression"), device="cpu")
