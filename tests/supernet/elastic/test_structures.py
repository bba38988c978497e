"""Models of any signature: several inputs and outputs, in tuples, mappings and dataclasses, through a whole search."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

import sharewise as sw
from sharewise.errors import ConfigurationError, DataError
from sharewise.supernet import discrete, extract
from sharewise.testing import check_model


@dataclass
class Answer:
    logits: Tensor
    states: tuple[Tensor, Tensor] | None = None


class Pair(nn.Module):
    """Tokens and numbers, of which the second may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(9, 8), nn.Linear(11, 12), nn.Linear(12, 4)

    def forward(self, tokens: Tensor, numbers: Tensor | None = None, *, flat: bool = True) -> Answer:
        x = self.embed(tokens).mean(1)
        numbers = x.new_zeros(len(x), 3) if numbers is None else numbers
        y = self.mix(torch.cat([x, numbers], -1)).relu()
        return Answer(self.head(y), (numbers * 2, tokens))


CHOICES = {"embed": sw.width([4, 8]), "mix": sw.width([6, 12])}
TOKENS, NUMBERS = torch.randint(0, 9, (32, 5), generator=torch.Generator().manual_seed(0)), torch.randn(32, 3)
TARGETS = torch.arange(32) % 4


@pytest.mark.parametrize(
    "example",
    [
        (TOKENS[:3], NUMBERS[:3]),
        {"tokens": TOKENS[:3], "numbers": NUMBERS[:3], "flat": True},
        TOKENS[:3],
        (TOKENS[:3], None),
    ],
    ids=["positional", "keywords", "one", "with nothing"],
)
def test_arguments_of_any_structure(example: Any) -> None:
    torch.manual_seed(0)
    supernet = sw.elastic(Pair(), CHOICES, example=example)
    report = check_model(supernet, samples=2)
    assert report.original
    answer = supernet(example, discrete(supernet.relaxation.encode(supernet.smallest)))
    assert isinstance(answer, Answer)
    assert answer.logits.shape == (3, 4)
    assert supernet.output_shapes["['logits']"] == (3, 4)


def test_one_mapping_as_the_one_argument() -> None:
    class Whole(Pair):
        def forward(self, batch: dict[str, Tensor]) -> Answer:  # type: ignore[override]
            return super().forward(**batch)

    example = ({"tokens": TOKENS[:3], "numbers": NUMBERS[:3]},)
    check_model(sw.elastic(Whole(), CHOICES, example=example), samples=2)


def columns() -> sw.data.Dataset:
    rows = sw.data.Examples(sw.data.Columns({"tokens": TOKENS, "numbers": NUMBERS}), TARGETS)
    task = sw.data.classification(4).reading("logits")
    return sw.data.Dataset(name="pairs", task=task, input_kind="columns", train=rows, test=sw.data.Sealed(rows))


def pair() -> sw.ElasticModel:
    torch.manual_seed(0)
    return sw.elastic(Pair(), CHOICES, example={"tokens": TOKENS[:3], "numbers": NUMBERS[:3]})


def test_a_search_on_columns_is_resumed_and_trained(tmp_path: Any) -> None:
    recipe, data = sw.methods.tanglenas_gaea(epochs=2, batch_size=8), columns()
    found = sw.search(pair(), recipe, data, device="cpu", out=f"{tmp_path}/run")
    short = sw.search(pair(), recipe, data, device="cpu", out=f"{tmp_path}/short", max_steps=3)
    assert short.architecture is not None
    again = sw.search(pair(), recipe, data, device="cpu", out=f"{tmp_path}/run", resume=True)
    for name, value in found.supernet.state_dict().items():
        assert torch.equal(value, again.supernet.state_dict()[name])
    trained = sw.train(pair(), found.architecture, data, max_steps=2, device="cpu")
    assert set(trained.test) >= {"loss", "accuracy"}
    small = extract(found.supernet, found.architecture)
    assert small(TOKENS[:2]).logits.shape == (2, 4)


def test_the_task_says_which_output_is_scored() -> None:
    task = sw.data.classification(4, label_smoothing=0.1).reading("logits")
    logits = torch.randn(6, 4)
    plain = sw.data.classification(4, label_smoothing=0.1)
    for outputs in ({"logits": logits}, Answer(logits)):
        assert torch.equal(task.loss(outputs, TARGETS[:6]), plain.loss(logits, TARGETS[:6]))
        assert torch.equal(
            task.metrics["accuracy"](outputs, TARGETS[:6]), plain.metrics["accuracy"](logits, TARGETS[:6])
        )
    assert torch.equal(task.smoothed(0.2)({"logits": logits}, TARGETS[:6]), plain.smoothed(0.2)(logits, TARGETS[:6]))
    with pytest.raises(ConfigurationError, match=r"reads the output 'logits', which .* it returns \['scores'\]"):
        task.loss({"scores": logits}, TARGETS[:6])


def test_streams_of_columns_resume_to_the_bit() -> None:
    stream = sw.data.Stream(columns().train, 8, order=torch.Generator().manual_seed(1))
    next(stream)
    state = stream.state_dict()
    first = next(stream)
    stream.load_state_dict(state)
    again = next(stream)
    assert torch.equal(first.targets, again.targets)
    rows = [int((row == TOKENS).all(1).nonzero()[0]) for row in first.inputs["tokens"]]
    assert torch.equal(first.inputs["numbers"], NUMBERS[rows])
    assert len(first.inputs) == 8


def test_data_sets_and_loaders_of_torch() -> None:
    rows = TensorDataset(torch.randn(20, 6, 2), torch.arange(20) % 3)
    for source in (rows, DataLoader(rows, batch_size=4, shuffle=True)):
        data = sw.data.from_torch(source, rows, task=sw.data.classification(3))
        assert (data.input_kind, data.input_shape, len(data.train)) == ("array", (6, 2), 20)
        assert torch.equal(data.train.inputs, rows.tensors[0])
    dictionaries = [{"tokens": TOKENS[i], "numbers": NUMBERS[i], "label": int(TARGETS[i])} for i in range(8)]
    data = sw.data.from_torch(dictionaries, dictionaries, task=sw.data.classification(4), target="label")  # type: ignore[arg-type]
    assert data.input_shape == {"tokens": (5,), "numbers": (3,)}
    assert data.integers == {"tokens": True, "numbers": False}


def test_orders_that_cannot_be_resumed_are_refused() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield torch.zeros(2), 0

    rows = TensorDataset(torch.randn(4, 2), torch.zeros(4, dtype=torch.long))
    sampled = DataLoader(rows, sampler=WeightedRandomSampler([1.0] * 4, 4))
    task = sw.data.classification(2)
    with pytest.raises(DataError, match="has a WeightedRandomSampler of its own"):
        sw.data.from_torch(sampled, rows, task=task)
    for source in (Endless(), DataLoader(Endless())):
        with pytest.raises(DataError, match="can only be iterated"):
            sw.data.from_torch(source, rows, task=task)
    with pytest.raises(DataError, match="has a BatchesOfMine of its own"):
        sw.data.from_torch(DataLoader(rows, batch_sampler=BatchesOfMine(range(4), 2, False)), rows, task=task)
    with pytest.raises(DataError, match="makes no batches"):
        sw.data.from_torch(DataLoader(rows, batch_size=None), rows, task=task)
    with pytest.raises(ConfigurationError, match=r"got a DataLoader: .* sharewise\.data\.from_torch\(train, test"):
        sw.search("toy-tied-width", "spos", DataLoader(rows))  # type: ignore[arg-type]


class BatchesOfMine(BatchSampler):
    """Batches in an order of their own."""


class Promised(IterableDataset[Any]):
    """A stream that says where it stands."""

    def __init__(self, rows: int | None) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        for i in itertools.count() if self.rows is None else range(self.rows):
            yield torch.full((4,), float(i)), i % 3

    def state_dict(self) -> dict[str, Any]:
        return {}


def test_a_stream_with_a_state_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    task = sw.data.classification(3)
    for source in (Promised(300), DataLoader(Promised(300), batch_size=7)):
        data = sw.data.from_torch(source, Promised(6), task=task)
        assert data.train.inputs[:, 0].tolist() == list(range(300))
    monkeypatch.setattr("sharewise.data.reading.available_memory", lambda: 1000)
    with pytest.raises(DataError, match="what follows 256 items of the training data would take"):
        sw.data.from_torch(Promised(None), Promised(6), task=task)


def test_the_batch_size_of_a_loader_is_taken_where_no_recipe_says_one() -> None:
    rows = TensorDataset(torch.randn(20, 4), torch.arange(20) % 3)
    data = sw.data.from_torch(DataLoader(rows, batch_size=5), rows, task=sw.data.classification(3))
    assert data.limited(18, seed=0).batch_size == 5

    def size(method: Any) -> int:
        return sw.search("toy-tied-width", method, data, max_steps=1, device="cpu").state.recipe.batch_size

    assert [size("rs-ws"), size(sw.methods.rs_ws(batch_size=3))] == [5, 3]
    small = {"width": 8, "activation": "relu"}
    for options, expected in ((None, 5), ({"epochs": 1}, 5), ({"batch_size": 3}, 3), (sw.TrainingRecipe(epochs=1), 64)):
        trained = sw.train("toy-tied-width", small, data, training=options, max_steps=1, device="cpu")
        assert trained.state.recipe.batch_size == expected


def test_columns_of_another_form_are_refused() -> None:
    with pytest.raises(DataError, match="one row for each example"):
        sw.data.Columns({"a": torch.zeros(2), "b": torch.zeros(3)})
    data, other = columns(), sw.data.Columns({"tokens": TOKENS})
    with pytest.raises(DataError, match="must be Columns with the same shapes in training and test"):
        sw.data.Dataset(
            name="x",
            task=data.task,
            input_kind="columns",
            train=data.train,
            test=sw.data.Sealed(sw.data.Examples(other, TARGETS)),
        )
    with pytest.raises(ConfigurationError, match="the model was made elastic with inputs of shape"):
        sw.search(pair(), sw.methods.tanglenas_gaea(epochs=1), sw.data.digits().limited(20, seed=0), device="cpu")
