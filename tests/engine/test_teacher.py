"""Distillation from a frozen teacher: the loss by hand, who sees it, and what a resumed run must be given again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sharewise as sw
from sharewise.data import Task, classification, digits, language_modelling, regression, segmentation
from sharewise.engine import Teacher
from sharewise.engine.teacher import digest_of, soft_loss
from sharewise.errors import CheckpointError, ConfigurationError
from sharewise.run.place import Place, Setting
from sharewise.run.search import Search
from sharewise.spaces import load

DATA = digits().limited(64, seed=0)
SPACE = load("toy-tied-width")
SETTING = Setting(place=Place("cpu", "float64"))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Dropout(0.5), nn.ReLU(), nn.Linear(12, 10))


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.3, 4.0)])
def test_a_weight_step_descends_hard_and_soft_loss(weight: float, temperature: float) -> None:
    state = Search(SPACE, sw.methods.spos(batch_size=16, weight_decay=0.0), DATA, SETTING).prepare()
    teacher = network()
    state.teach(Teacher(teacher, weight, temperature))
    batch, twin = state.next_batch("weights"), copy.deepcopy(state.supernet)
    generator = torch.Generator()
    generator.set_state(state.generators["weights"].get_state())
    [path] = state.distribution.draw(generator, state.phase("weights"))
    state.recipe.level.weight_step(state, batch)

    with torch.no_grad():
        target = copy.deepcopy(teacher).double().eval()(batch.inputs)
    outputs = twin(batch.inputs, path)
    soft = -((target / temperature).softmax(-1) * (outputs / temperature).log_softmax(-1)).sum(-1).mean()
    loss = F.cross_entropy(outputs, batch.targets) + weight * temperature**2 * soft
    loss.backward()
    for name, parameter in twin.named_parameters():
        ours = state.supernet.get_parameter(name).grad
        assert (ours is None) == (parameter.grad is None)
        if ours is not None and parameter.grad is not None:
            torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=1e-12)
    assert all(p.grad is None for p in teacher.parameters())
    entry = state.ledger.entries["teacher"]
    assert (entry.examples, entry.multiply_accumulates) == (16, 16 * (65 * 12 + 13 * 10))


def test_architecture_steps_do_not_see_it() -> None:
    thetas = []
    for taught in (False, True):
        state = Search(SPACE, sw.methods.darts(batch_size=16), DATA, SETTING).prepare()
        if taught:
            state.teach(Teacher(network()))
        state.recipe.level.architecture_step(state)
        thetas.append([p.detach().clone() for p in state.distribution.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*thetas, strict=True))


def test_a_training_learns_from_it_and_resumes_with_it_alone(tmp_path: Path) -> None:
    architecture = SPACE.architecture({"width": 8, "activation": "relu"})
    teacher = Teacher(network(), 0.5, 2.0, source="a net")

    def run(out: str, given: object, resume: bool = False, steps: int | None = None) -> sw.TrainingResult:
        return sw.train(
            SPACE, architecture, DATA, epochs=2, device="cpu", out=tmp_path / out, resume=resume, teacher=given,  # type: ignore[arg-type]
            checkpoint_every=1, evaluate_on_test=False,
        )  # fmt: skip

    whole = run("whole", teacher)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert f'"digest": "{digest_of(network())}"' in lines[0]
    assert '"weight": 0.5' in lines[0]
    alone = run("alone", None)
    states = [result.network.state_dict() for result in (whole, alone)]
    assert any(not torch.equal(a, b) for a, b in zip(*map(dict.values, states), strict=True))
    for other in (None, network(1), Teacher(network(), 0.25, 2.0)):
        with pytest.raises(CheckpointError, match="teacher"):
            run("whole", other, resume=True)
    assert run("whole", teacher, resume=True).architecture == architecture


def test_teachers_are_read_from_results_folders_and_programs(tmp_path: Path) -> None:
    architecture = {"width": 16, "activation": "relu"}
    trained = sw.train(SPACE, architecture, DATA, max_steps=2, device="cpu")
    sw.export(trained.network, tmp_path / "program", format="torch-export", example=torch.randn(3, 1, 8, 8))
    for given in (trained, trained.network, tmp_path / "program", tmp_path / "program" / "model.pt2"):
        found = sw.search(SPACE, "spos", DATA, max_steps=2, device="cpu", teacher=given, gap_examples=0)  # type: ignore[arg-type]
        assert found.state.ledger.entries["teacher"].steps == 2
    searched = sw.search(SPACE, sw.methods.spos(candidates=1), DATA, max_steps=2, device="cpu", gap_examples=0)
    sw.train(SPACE, architecture, DATA, max_steps=2, device="cpu", teacher=searched, evaluate_on_test=False)


@pytest.mark.parametrize("task", [classification(3), language_modelling(3), segmentation(3), regression(3)])
def test_every_task_of_ours_can_be_distilled(task: Task) -> None:
    outputs = torch.randn(2, 4, 3, requires_grad=True, dtype=torch.float64)
    teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(soft_loss(task, outputs, teacher, 2.0), outputs)
    nearer = (outputs - 0.1 * slope).detach()
    assert float(soft_loss(task, nearer, teacher, 2.0)) < float(soft_loss(task, outputs, teacher, 2.0).detach())
    (rest,) = torch.autograd.grad(soft_loss(task, teacher.requires_grad_(), teacher.detach(), 2.0), teacher)
    assert float(rest.abs().max()) < 1e-12


def test_what_teaches_nothing_is_refused(tmp_path: Path) -> None:
    for given, words in (
        (nn.Linear(3, 10), "does not run on examples of shape"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), "but the task has 10 outputs"),
        (tmp_path, "no teacher at"),
        (3, "a teacher is a torch module"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            sw.search(SPACE, "spos", DATA, max_steps=1, device="cpu", teacher=given)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="computes its weight step ahead"):
        sw.search(SPACE, "darts-second-order", DATA, max_steps=1, device="cpu", teacher=network())
    with pytest.raises(ConfigurationError, match="makes a teacher of its own"):
        sw.search(SPACE, "progressive-shrinking", DATA, max_steps=1, device="cpu", teacher=network())
    with pytest.raises(ConfigurationError, match="temperature must be positive"):
        Teacher(network(), temperature=0.0)
    with pytest.raises(ConfigurationError, match="does not say how outputs are compared"):
        soft_loss(Task("odd", 2, F.mse_loss, primary="loss"), torch.zeros(2), torch.zeros(2))


class Named(nn.Module):
    """Takes columns by name and answers by name."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, hidden), nn.Linear(2, hidden)
        self.head = nn.Linear(hidden, 4)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = (self.left(a) + self.right(b)).relu()
        return {"scores": self.head(hidden), "size": hidden.square().sum(-1)}


@pytest.mark.parametrize("method", ["spos", "sandwich"])
def test_networks_of_columns_learn_from_the_output_that_the_task_reads(method: str) -> None:
    torch.manual_seed(0)
    columns = sw.data.Columns({"a": torch.randn(24, 3), "b": torch.randn(24, 2)})
    rows = sw.data.Examples(columns, torch.arange(24) % 4)
    task = classification(4).reading("scores")
    data = sw.data.Dataset("named", task, "columns", rows, sw.data.Sealed(rows))
    example = {name: column[:2] for name, column in columns.items()}
    supernet = sw.elastic(Named(), {"left": sw.width([4, 8], name="hidden")}, example=example)
    recipe = getattr(sw.methods, method)(epochs=1, batch_size=4)
    teacher = Named()
    result = sw.search(supernet, recipe, data, device="cpu", max_steps=2, teacher=teacher)
    entry = result.state.ledger.entries["teacher"]
    assert (entry.examples, entry.multiply_accumulates) == (8, 8 * (4 * 8 + 3 * 8 + 9 * 4))

    state = Search(supernet.space, sw.methods.spos(batch_size=4, weight_decay=0.0), data, SETTING).prepare()
    state.teach(Teacher(teacher, 0.5, 2.0))
    batch, twin = state.next_batch("weights"), copy.deepcopy(state.supernet)
    generator = torch.Generator()
    generator.set_state(state.generators["weights"].get_state())
    [path] = state.distribution.draw(generator, state.phase("weights"))
    state.recipe.level.weight_step(state, batch)
    with torch.no_grad():
        target = copy.deepcopy(teacher).double()(**batch.inputs)["scores"]
    outputs = twin(batch.inputs, path)["scores"]
    soft = -((target / 2).softmax(-1) * (outputs / 2).log_softmax(-1)).sum(-1).mean()
    (F.cross_entropy(outputs, batch.targets) + 0.5 * 4 * soft).backward()
    for name, parameter in twin.named_parameters():
        if parameter.grad is not None:
            ours = state.supernet.get_parameter(name).grad
            torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=1e-12)

    with pytest.raises(ConfigurationError, match="reads the output 'scores', which the network does not return"):
        sw.search(supernet, recipe, data, device="cpu", max_steps=1, teacher=Silent())


class Silent(Named):
    """Answers under another name."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"other": super().forward(a, b)["scores"]}
