"""The contract of an oracle: one question has one answer, every answer has a price, and no test value leaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sharewise.data import Dataset
from sharewise.errors import ConfigurationError
from sharewise.space import Architecture
from sharewise.strategy import Evaluation, Oracle
from sharewise.testing.ambient import without_ambient_randomness
from sharewise.testing.expect import expect

__all__ = ["check_oracle"]

Values = Callable[[Architecture, int], float]
"""Of an architecture at a fidelity."""


def check_oracle(
    oracle: Oracle,
    architectures: Sequence[Architecture] | None = None,
    *,
    truth: Values | None = None,
    sealed: Values | None = None,
    dataset: Dataset | None = None,
    noise: bool = False,
    samples: int = 4,
    seed: int = 0,
) -> None:
    """Check that an oracle answers as strategies, ledgers and reports take it.

    *Same question, same answer*: to the bit, whatever was asked in between, as a function of the question and of the
    generator; without declared `noise` of the question alone; the global generators stay where they are. *Priced*:
    every answer costs something finite, and a longer training no less than a shorter one. *To the point*: an answer is
    about the architecture and the fidelity that were asked about, and its value is a number (-∞ for a training that
    failed). *Its own space*: architectures of other spaces, illegal ones and unknown fidelities are refused by a
    `ConfigurationError`. *Sealed*: answers are not test values, and the test examples stay closed.

    Args:
        oracle: to be checked; it is asked some ten times an architecture.
        architectures: to ask about; some of the space's listing when absent.
        truth: what the signal is, where it is known from elsewhere; answers must equal it to 1e-9.
        sealed: test values, which no answer may equal.
        dataset: the data that the oracle reads, whose test examples must stay sealed.
        noise: whether answers to one question may differ from generator to generator.
        samples: how many architectures, where they are not given.
        seed: of the generators.

    Raises:
        AssertionError: for the first law that is broken, naming the architecture.

    Example:
        >>> from sharewise.space import Choice, Space
        >>> from sharewise.strategy import ArrayOracle
        >>> toy = Space("toy", (Choice("operation", ("a", "b")),))
        >>> check_oracle(ArrayOracle(toy, {0: [0.1, 0.9]}, {0: 1.0}))
    """
    fidelities = oracle.fidelities
    expect(
        len(fidelities) > 0 and list(fidelities) == sorted(set(fidelities)),
        f"the fidelities of {_name(oracle)} must ascend, got {fidelities}",
    )
    if architectures is None:
        listing = oracle.space.listing
        places = np.linspace(0, len(listing) - 1, min(samples, len(listing))).astype(int)
        architectures = [listing.at(int(place)) for place in places]
    openings = () if dataset is None else dataset.openings
    first: dict[tuple[Architecture, int], Evaluation] = {}
    for architecture in architectures:
        for fidelity in fidelities:
            with without_ambient_randomness(f"an answer of {_name(oracle)}"):
                first[architecture, fidelity] = _ask(oracle, architecture, fidelity, seed)
    for (architecture, fidelity), answer in reversed(first.items()):
        again = _ask(oracle, architecture, fidelity, seed)
        expect(
            again == answer,
            f"{_name(oracle)} answered {answer.value!r} at cost {answer.cost!r} for {architecture}, and asked again "
            f"with an equal generator {again.value!r} at cost {again.cost!r}",
        )
        other = _ask(oracle, architecture, fidelity, seed + 1)
        expect(
            noise or other.value == answer.value,
            f"{_name(oracle)} answered {answer.value!r} for {architecture}, and {other.value!r} under another "
            "generator; if its answers have noise, say noise=True",
        )
    _check_prices(oracle, architectures, first)
    _check_values(oracle, first, truth, sealed)
    if dataset is not None:
        opened = dataset.openings[len(openings) :]
        expect(not opened, f"{_name(oracle)} opened the test examples while it answered: {opened}")
    _check_refusals(oracle, architectures[0], seed)


def _ask(oracle: Oracle, architecture: Architecture, fidelity: int, seed: int) -> Evaluation:
    answer = oracle.evaluate(architecture, fidelity, np.random.default_rng(seed))
    expect(
        answer.architecture == architecture,
        f"{_name(oracle)} was asked about {architecture} and answered about {answer.architecture}",
    )
    expect(
        answer.fidelity == fidelity,
        f"{_name(oracle)} was asked at fidelity {fidelity} and answered at {answer.fidelity}",
    )
    expect(
        not math.isnan(answer.value) and answer.value < math.inf,
        f"{_name(oracle)} answered {answer.value!r} for {architecture}; a training that failed is worth -inf",
    )
    expect(
        math.isfinite(answer.cost) and answer.cost > 0,
        f"the answer of {_name(oracle)} for {architecture} costs {answer.cost!r} {oracle.unit}; every answer has a "
        "finite, positive price",
    )
    return answer


def _check_prices(
    oracle: Oracle, architectures: Sequence[Architecture], answers: dict[tuple[Architecture, int], Evaluation]
) -> None:
    for architecture in architectures:
        costs = [answers[architecture, fidelity].cost for fidelity in oracle.fidelities]
        expect(
            costs == sorted(costs),
            f"{_name(oracle)} charges {costs} {oracle.unit} for {architecture} at fidelities {oracle.fidelities}: a "
            "longer training costs no less than a shorter one",
        )


def _check_values(
    oracle: Oracle,
    answers: dict[tuple[Architecture, int], Evaluation],
    truth: Values | None,
    sealed: Values | None,
) -> None:
    for (architecture, fidelity), answer in answers.items():
        if truth is not None:
            known = truth(architecture, fidelity)
            expect(
                math.isclose(answer.value, known, rel_tol=1e-9, abs_tol=1e-9),
                f"{_name(oracle)} answered {answer.value!r} for {architecture}, whose signal is {known!r}",
            )
        if sealed is not None:
            secret = sealed(architecture, fidelity)
            expect(
                not math.isclose(answer.value, secret, rel_tol=1e-12),
                f"{_name(oracle)} answered {answer.value!r} for {architecture}, which is its test value",
            )


def _check_refusals(oracle: Oracle, architecture: Architecture, seed: int) -> None:
    name, _ = next(iter(architecture.items_), ("choice", 0))
    strangers = {
        "an architecture of another space": Architecture("elsewhere", architecture.items_),
        f"an illegal {name}": Architecture(oracle.space.name, ((name, "no such option"), *architecture.items_[1:])),
        "an architecture without choices": Architecture(oracle.space.name, ()),
    }
    if not architecture.items_:
        strangers.popitem()
    for what, stranger in strangers.items():
        _check_refused(oracle, stranger, oracle.fidelities[-1], what, seed)
    unknown = max(oracle.fidelities) + 1
    _check_refused(oracle, architecture, unknown, f"the unknown fidelity {unknown}", seed)


def _check_refused(oracle: Oracle, architecture: Architecture, fidelity: int, what: str, seed: int) -> None:
    try:
        answer = oracle.evaluate(architecture, fidelity, np.random.default_rng(seed))
    except ConfigurationError:
        return
    except Exception as error:
        raise AssertionError(
            f"{_name(oracle)} met {what} with {type(error).__name__}: {error}; it should refuse it by a "
            "ConfigurationError"
        ) from error
    raise AssertionError(f"{_name(oracle)} answered {answer.value!r} for {what} instead of refusing it")


def _name(oracle: Oracle) -> str:
    return type(oracle).__name__
