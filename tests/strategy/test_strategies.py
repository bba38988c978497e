from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from scipy import stats

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Condition, Constraint, Space, neighbours
from sharewise.spaces import load, nasbench201, nats_size
from sharewise.strategy import (
    NATS_SIZE,
    NATS_TOPOLOGY,
    STRATEGIES,
    ArrayOracle,
    Budget,
    Hyperband,
    LocalSearch,
    OneChoice,
    Plain,
    RandomSearch,
    Ranks,
    RegularizedEvolution,
    Reinforce,
    Strategy,
    SuccessiveHalving,
    Tournament,
    Trial,
    build_strategy,
    repeat,
    represent,
    run_strategy,
)
from sharewise.strategy.oracle import Evaluation, Oracle

SIMPLE = ["random", "random-without-replacement", "evolution", "local", "local-first", "reinforce"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---------------------------------------------------------------------------------------------------------------------
# Representations


def test_ranks_agree_with_the_moves_of_the_space(tiny: Space) -> None:
    ranks = Ranks(tiny)
    for rank in range(tiny.size):
        architecture = ranks.architecture(rank)
        assert ranks.genotype(architecture) == rank
        assert ranks.from_digits(ranks.digits(rank)) == rank
        assert [ranks.architecture(r) for r in ranks.neighbours(rank)] == neighbours(tiny, architecture)


def test_ranks_of_nasbench201_know_its_official_order() -> None:
    space = nasbench201()
    ranks = Ranks(space)
    generator = rng()
    assert sorted(ranks.index(r) for r in range(space.size)) == list(range(space.size))
    for _ in range(50):
        rank = ranks.sample(generator)
        architecture = ranks.architecture(rank)
        assert ranks.index(rank) == space.listing.index(architecture)
        assert ranks.at(ranks.index(rank)) == rank
        assert {ranks.architecture(r) for r in ranks.neighbours(rank)} == set(neighbours(space, architecture))


@pytest.mark.parametrize("kind", [Ranks, Plain])
def test_only_covered_architectures_are_proposed(tiny: Space, kind: type[Ranks] | type[Plain]) -> None:
    covered = np.zeros(24, dtype=bool)
    covered[[0, 1, 2, 3, 4, 8]] = True
    found = kind(tiny, covered)
    assert found.indices.tolist() == [0, 1, 2, 3, 4, 8]
    generator = rng()
    genotype = found.sample(generator)
    for _ in range(100):
        genotype = found.mutate(genotype, generator)
        assert covered[found.index(genotype)]
        assert covered[found.index(found.sample(generator))]
        assert all(covered[found.index(other)] for other in found.neighbours(genotype))


def test_a_space_with_conditions_and_constraints_is_searched_as_it_is() -> None:
    space = Space(
        "dependent",
        (
            Choice("depth", (1, 2)),
            Choice("one", (1, 2, 3)),
            Choice("two", (1, 2, 3), condition=Condition("depth", (2,))),
        ),
        (Constraint("the sum is at most 4", lambda v: int(v["one"]) + int(v.get("two", 0)) <= 4),),  # type: ignore[call-overload]
    )
    assert isinstance(represent(space), Plain)
    oracle = ArrayOracle(space, {0: np.arange(space.size) / space.size}, {0: 1.0})
    for name in ("random", "random-without-replacement", "evolution", "local"):
        history = run_strategy(build_strategy(name, space), oracle, Budget(evaluations=60), rng())
        assert history.best.architecture == space.listing.at(space.size - 1), name
    with pytest.raises(ConfigurationError, match="independent choices"):
        run_strategy(Reinforce(), oracle, Budget(evaluations=3), rng())


# ---------------------------------------------------------------------------------------------------------------------
# All strategies


@pytest.mark.parametrize("name", SIMPLE)
def test_every_strategy_is_deterministic_and_can_be_replayed(name: str, tiny: Space, tiny_oracle: ArrayOracle) -> None:
    strategy = build_strategy(name, tiny)
    if name == "evolution":
        strategy = RegularizedEvolution(5, Tournament(2))
    histories = [run_strategy(strategy, tiny_oracle, Budget(evaluations=24), rng(3)) for _ in range(2)]
    assert histories[0].trials == histories[1].trials
    # The state after k trials is a fold of them: a replay proposes what the run did propose.
    representation = represent(tiny)
    generator = rng(3)
    state = strategy.start(representation, (0,), generator)
    for trial in histories[0].trials:
        replayed = strategy.replay(representation, (0,), histories[0].trials[:0], rng(3))
        assert type(replayed) is type(state)
        proposal = strategy.propose(representation, state, generator)
        assert proposal is not None
        assert proposal.genotype == trial.genotype
        before = repr(state)
        after = strategy.update(representation, state, trial)
        assert repr(state) == before  # the given state is left as it was
        state = after


@pytest.mark.parametrize("name", SIMPLE)
def test_replaying_a_history_gives_the_state_of_the_run(name: str, tiny: Space, tiny_oracle: ArrayOracle) -> None:
    strategy = build_strategy(name, tiny)
    representation = represent(tiny)
    history = run_strategy(strategy, tiny_oracle, Budget(evaluations=20), rng(1))
    generator = rng(1)
    state: Any = strategy.start(representation, (0,), generator)
    for trial in history.trials:
        strategy.propose(representation, state, generator)
        state = strategy.update(representation, state, trial)
    assert repr(strategy.replay(representation, (0,), history.trials, rng(1))) == repr(state)


def test_histories_and_oracles_are_immutable(tiny_oracle: ArrayOracle) -> None:
    history = run_strategy(RandomSearch(), tiny_oracle, Budget(cost=10), rng())
    assert isinstance(history[0], Evaluation)
    assert history[1:3] == (history[1], history[2])
    with pytest.raises(FrozenInstanceError):
        history.trials = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        history.trials[0].value = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(tiny_oracle.values[0])[0, 0] = 1.0


def test_the_ledger_keeps_to_the_budget(tiny_oracle: ArrayOracle) -> None:
    history = run_strategy(RandomSearch(), tiny_oracle, Budget(cost=20), rng())
    costs = [evaluation.cost for evaluation in history]
    assert history.spent.tolist() == pytest.approx(np.cumsum(costs))
    assert history.spent[-1] <= 20 < history.spent[-1] + 2  # the next one, of at most 2, did not fit
    assert len(run_strategy(RandomSearch(), tiny_oracle, Budget(evaluations=7), rng())) == 7
    empty = run_strategy(RandomSearch(), tiny_oracle, Budget(cost=0.5), rng())
    with pytest.raises(ConfigurationError, match="nothing was evaluated"):
        _ = empty.best


@pytest.mark.parametrize("arguments", [{}, {"cost": 0}, {"cost": float("inf")}, {"evaluations": 0}])
def test_bad_budgets_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Budget(**arguments)


def test_an_oracle_of_ones_own_is_asked_by_architecture(tiny: Space) -> None:
    class Sum(Oracle):
        unit = "evaluations"

        def __init__(self, space: Space) -> None:
            self.space, self.asked = space, []  # type: ignore[var-annotated]

        def evaluate(self, architecture: Architecture, fidelity: int, rng: np.random.Generator) -> Evaluation:
            self.asked.append(architecture)
            return Evaluation(architecture, float(architecture["a"]) + float(architecture["c"]), 1.0)  # type: ignore[arg-type]

    oracle = Sum(tiny)
    history = run_strategy(LocalSearch(), oracle, Budget(evaluations=40), rng())
    assert [evaluation.architecture for evaluation in history] == oracle.asked
    assert (history.best.architecture["a"], history.best.architecture["c"]) == (3, 3)


def test_a_run_at_random_answers_where_there_are_several(tiny: Space) -> None:
    oracle = ArrayOracle(tiny, {0: np.stack([np.zeros(24), np.ones(24)])}, {0: 1.0})
    values = [evaluation.value for evaluation in run_strategy(RandomSearch(), oracle, Budget(evaluations=400), rng())]
    assert set(values) == {0.0, 1.0}
    assert stats.binomtest(int(sum(values)), 400).pvalue > 0.001


def test_strategies_load_no_torch() -> None:
    program = (
        "import numpy as np, sys\n"
        "from sharewise.spaces import nasbench201\nfrom sharewise.oracle import ArrayOracle\n"
        "from sharewise.strategy import Budget, build_strategy, repeat\n"
        "space = nasbench201()\noracle = ArrayOracle(space, {0: np.arange(space.size)}, {0: 1.0})\n"
        "for name in ('random', 'evolution', 'local', 'reinforce'):\n"
        "    repeat(build_strategy(name, space), oracle, Budget(evaluations=20), [20], repeats=1)\n"
        "import sharewise.cli.compare_verb\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_names_and_settings() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'evolution'"):
        build_strategy("evolutoin", nasbench201())
    evolution = build_strategy("evolution", nasbench201())
    assert evolution == RegularizedEvolution(10, Tournament(3, replacement=True), NATS_TOPOLOGY)
    assert all(isinstance(build_strategy(name, nasbench201()), Strategy) for name in STRATEGIES)


# ---------------------------------------------------------------------------------------------------------------------
# Random search


def test_random_search_finds_the_best_with_the_exact_probability(tiny: Space, tiny_oracle: ArrayOracle) -> None:
    """The best of n draws has rank r or better with probability 1 - (1 - r/N)^n."""
    n, repeats = 6, 3000
    found = repeat(
        RandomSearch(), ArrayOracle(tiny, tiny_oracle.values, {0: 1.0}), Budget(evaluations=n), [n], repeats=repeats
    )
    order = np.argsort(-np.asarray(tiny_oracle.values[0])[0])
    rank = np.argsort(order)[found.incumbents[:, 0]]
    survival = (1 - np.arange(25) / 24) ** n
    expected = survival[:-1] - survival[1:]
    observed = np.bincount(rank, minlength=24)
    kept = expected * repeats >= 5
    chi = stats.chisquare(
        [*observed[kept], observed[~kept].sum()], [*(expected[kept] * repeats), expected[~kept].sum() * repeats]
    )
    assert chi.pvalue > 0.001


def test_without_replacement_nothing_is_asked_twice_and_the_run_ends(tiny_oracle: ArrayOracle) -> None:
    history = run_strategy(RandomSearch(replacement=False), tiny_oracle, Budget(evaluations=1000), rng())
    assert sorted(trial.genotype for trial in history.trials) == list(range(24))
    first = Counter(
        run_strategy(RandomSearch(replacement=False), tiny_oracle, Budget(evaluations=1), rng(s)).trials[0].genotype
        for s in range(2400)
    )
    assert stats.chisquare([first[g] for g in range(24)]).pvalue > 0.001


# ---------------------------------------------------------------------------------------------------------------------
# Evolution


def test_aging_removes_the_oldest_however_good_it_is(tiny: Space) -> None:
    strategy, representation = RegularizedEvolution(3, Tournament(2)), represent(tiny)
    state = strategy.start(representation, (0,), rng())
    for genotype, value in enumerate([9.0, 1.0, 2.0, 3.0, 4.0]):
        state = strategy.update(representation, state, Trial(genotype, value, 1.0))
    assert state == ((2, 2.0), (3, 3.0), (4, 4.0))


@pytest.mark.parametrize("replacement", [False, True])
def test_the_winner_of_a_tournament_has_the_exact_distribution(replacement: bool) -> None:
    population = tuple((place, float(place)) for place in range(5))
    generator = rng()
    wins = Counter(Tournament(3, replacement).winner(population, generator) for _ in range(5000))
    samples = itertools.product(range(5), repeat=3) if replacement else itertools.combinations(range(5), 3)
    exact = Counter(max(sample) for sample in samples)
    places = sorted(exact)
    expected = np.array([exact[p] for p in places]) / exact.total() * 5000
    assert set(wins) <= set(exact)
    assert stats.chisquare([wins[p] for p in places], expected).pvalue > 0.001


def test_one_choice_changes_exactly_one_uniformly(tiny: Space) -> None:
    ranks, generator = Ranks(tiny), rng()
    for mutation, shares in ((OneChoice(), [1 / 3, 1 / 3, 1 / 3]), (OneChoice((2, 1, 0)), [2 / 3, 1 / 3, 0])):
        counts: Counter[int] = Counter(mutation.mutate(ranks, 13, generator) for _ in range(6000))
        parent = ranks.digits(13)
        expected: dict[int, float] = {}
        for child in ranks.neighbours(13):
            place = next(p for p in range(3) if ranks.digits(child)[p] != parent[p])
            expected[child] = 6000 * shares[place] / (ranks.radices[place] - 1)
        alive = [child for child in expected if expected[child]]
        assert set(counts) == set(alive)
        assert stats.chisquare([counts[c] for c in alive], [expected[c] for c in alive]).pvalue > 0.001


def test_the_mutation_of_nats_picks_a_node_and_then_an_edge() -> None:
    ranks, generator = Ranks(nasbench201()), rng()
    changed = Counter()  # type: ignore[var-annotated]
    for _ in range(6000):
        child = ranks.digits(NATS_TOPOLOGY.mutate(ranks, 1234, generator))
        changed[next(p for p in range(6) if child[p] != ranks.digits(1234)[p])] += 1
    expected = np.array([1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]) * 6000
    assert stats.chisquare([changed[p] for p in range(6)], expected).pvalue > 0.001


def test_the_mutation_of_the_size_space_draws_among_all_widths() -> None:
    """One of 5 layers, then one of all 8 widths: the parent again with probability 1/8."""
    space = nats_size()
    strategy = build_strategy("evolution", space)
    assert strategy == RegularizedEvolution(10, Tournament(3, replacement=True), NATS_SIZE)
    ranks, generator = Ranks(space), rng()
    parent = 12_345
    counts: Counter[int] = Counter(NATS_SIZE.mutate(ranks, parent, generator) for _ in range(8000))
    around = (parent, *ranks.neighbours(parent))
    assert len(around) == 36
    assert set(counts) == set(around)
    expected = [8000 / 8] + [8000 / 40] * 35
    assert stats.chisquare([counts[child] for child in around], expected).pvalue > 0.001


@pytest.mark.parametrize("kind", [Ranks, Plain])
def test_on_a_sparse_table_a_child_is_a_random_covered_one(kind: type[Ranks] | type[Plain], tiny: Space) -> None:
    covered = np.zeros(24, dtype=bool)
    lonely = [0, 13, 23]  # ranks 0 00, 1 11 and 2 13 in digits of 3 2 4: each two differ in more than one choice
    covered[lonely] = True
    representation, generator = kind(tiny, covered), rng()
    parent = representation.at(0)
    assert representation.neighbours(parent) == ()
    children = Counter(representation.index(OneChoice().mutate(representation, parent, generator)) for _ in range(900))
    assert stats.chisquare([children[index] for index in lonely]).pvalue > 0.001
    assert children.total() == 900
    values = np.where(covered, np.arange(24.0), np.nan)
    oracle = ArrayOracle(tiny, {0: values}, {0: 1.0})
    history = run_strategy(RegularizedEvolution(5, Tournament(2)), oracle, Budget(evaluations=60), generator)
    assert (len(history), history.best.value) == (60, 23.0)


@pytest.mark.parametrize("space", [nasbench201(), load("nasbench101:A_4")], ids=lambda space: space.name)
def test_evolution_as_published_gets_through_a_very_sparse_table(space: Space) -> None:
    values = np.full(space.size, np.nan)
    values[:: space.size // 5] = 1.0
    oracle = ArrayOracle(space, {0: values}, {0: 1.0})
    strategy = build_strategy("evolution", space)
    assert len(run_strategy(strategy, oracle, Budget(evaluations=80), rng())) == 80


@pytest.mark.parametrize(
    "build", [lambda: Tournament(0), lambda: RegularizedEvolution(0), lambda: RegularizedEvolution(5)]
)
def test_impossible_evolutions_are_refused(build: Any) -> None:
    with pytest.raises(ConfigurationError):
        build()


# ---------------------------------------------------------------------------------------------------------------------
# Local search


@pytest.mark.parametrize("first", [False, True])
def test_local_search_restarts_only_from_local_optima(first: bool, tiny: Space, tiny_oracle: ArrayOracle) -> None:
    strategy, representation, generator = LocalSearch(first), represent(tiny), rng(2)
    values = np.asarray(tiny_oracle.values[0])[0]
    state, walk, restarts = strategy.start(representation, (0,), generator), list[int](), 0
    for _ in range(400):
        proposal = strategy.propose(representation, state, generator)
        if not state.pending:  # a walk begins, so the best of the one before must be a local optimum
            if walk:
                best = max(walk, key=lambda rank: values[rank])
                assert all(values[other] < values[best] for other in representation.neighbours(best))
            walk, restarts = [], restarts + 1
        else:
            assert proposal.genotype in representation.neighbours(state.centre)
            if first or state.best is None:  # else a better neighbour waits until all have been asked
                assert values[state.centre] == max(values[rank] for rank in walk)
        walk.append(proposal.genotype)
        state = strategy.update(representation, state, Trial(proposal.genotype, float(values[walk[-1]]), 1.0))
    assert restarts > 10


def test_local_search_does_not_ask_again_what_a_step_has_shared(tiny: Space) -> None:
    values = np.arange(24.0)
    history = run_strategy(LocalSearch(), ArrayOracle(tiny, {0: values}, {0: 1.0}), Budget(evaluations=24), rng(1))
    genotypes = [trial.genotype for trial in history.trials]
    climb = genotypes[: genotypes.index(23) + 1]
    assert len(set(climb)) == len(climb)


# ---------------------------------------------------------------------------------------------------------------------
# REINFORCE


def test_reinforce_moves_along_the_gradient_of_the_log_probability(tiny: Space) -> None:
    """One step against a numeric derivative of log π; Adam's first step is the sign of the gradient."""
    strategy, representation = Reinforce(learning_rate=0.1, scale=0.5), Ranks(tiny)
    start = strategy.start(representation, (0,), rng())
    first = strategy.update(representation, start, Trial(5, 1.0, 1.0))
    assert np.array_equal(first.logits, start.logits)  # the first reward is its own baseline
    second = strategy.update(representation, first, Trial(17, 3.0, 1.0))
    digits, advantage = representation.digits(17), 3.0 - (0.9 * 0.1 * 1 + 0.1 * 3) / (0.9 * 0.1 + 0.1)

    def log_probability(logits: np.ndarray) -> float:
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(sum(np.log(shares[row, digit]) for row, digit in enumerate(digits)))

    gradient = np.zeros_like(start.logits)
    for row, column in np.argwhere(np.isfinite(start.logits)):
        ends = []
        for step in (1e-6, -1e-6):
            moved = first.logits.copy()
            moved[row, column] += step
            ends.append(log_probability(moved))
        gradient[row, column] = (ends[0] - ends[1]) / 2e-6
    assert second.mean == pytest.approx(-0.1 * advantage * gradient, abs=1e-8)
    assert np.isneginf(second.logits[~np.isfinite(start.logits)]).all()


def test_reinforce_steps_as_adam_does(tiny: Space) -> None:
    """Several steps beside another Adam, β₂ = 0.999 among them, on the gradients that the policy notes."""
    torch = pytest.importorskip("torch")
    strategy, representation = Reinforce(learning_rate=0.05, scale=0.5), Ranks(tiny)
    state = strategy.start(representation, (0,), rng())
    here = np.isfinite(state.logits)
    logits = torch.tensor(state.logits[here], dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.05)  # β = (0.9, 0.999), ε = 1e-8 by default
    baseline = [0.0, 0.0]
    for genotype, reward in ((5, 1.0), (17, 3.0), (2, -40.0), (23, 0.5), (11, 6.0), (8, 2.0)):
        baseline = [0.9 * baseline[0] + 0.1 * reward, 0.9 * baseline[1] + 0.1]
        whole = torch.full(state.logits.shape, -torch.inf, dtype=torch.float64)
        whole[torch.tensor(here)] = logits
        shares = whole.log_softmax(1)[range(3), list(representation.digits(genotype))]
        adam.zero_grad()
        (-shares.sum() * (reward - baseline[0] / baseline[1])).backward()
        adam.step()
        state = strategy.update(representation, state, Trial(genotype, reward, 1.0))
        assert state.logits[here] == pytest.approx(logits.detach().numpy(), rel=1e-10, abs=1e-12)


def test_reinforce_learns_the_best_options(tiny: Space) -> None:
    values = [float(rank % 4 + 4 * (rank // 4 % 2)) for rank in range(24)]
    oracle = ArrayOracle(tiny, {0: values}, {0: 1.0})
    history = run_strategy(Reinforce(learning_rate=0.1), oracle, Budget(evaluations=400), rng())
    early, late = (np.mean([t.value for t in part]) for part in (history.trials[:50], history.trials[-50:]))
    assert early < 6.5 < late  # the mean over the space is 3.5, the best value 7


# ---------------------------------------------------------------------------------------------------------------------
# Successive halving


def staged(space: Space) -> ArrayOracle:
    generator = rng(8)
    values = {epochs: generator.permutation(24) / 24 for epochs in (1, 3, 9)}
    return ArrayOracle(space, values, {epochs: float(epochs) for epochs in values}, "epochs")


def test_successive_halving_promotes_the_best_of_each_rung(tiny: Space) -> None:
    oracle = staged(tiny)
    history = run_strategy(SuccessiveHalving(), oracle, Budget(evaluations=26), rng())
    for start in (0, 13):
        bracket = history.trials[start : start + 13]
        assert [trial.fidelity for trial in bracket] == [1] * 9 + [3] * 3 + [9]
        rungs = bracket[:9], bracket[9:12], bracket[12:]
        for below, above in itertools.pairwise(rungs):
            best = sorted(below, key=lambda trial: -trial.value)[: len(above)]
            assert [trial.genotype for trial in above] == [trial.genotype for trial in best]
    assert history.best.fidelity == 9


def test_hyperband_runs_its_brackets_in_turn(tiny: Space) -> None:
    history = run_strategy(Hyperband(), staged(tiny), Budget(evaluations=13 + 7 + 3 + 9), rng())
    fidelities = [trial.fidelity for trial in history.trials]
    assert fidelities == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] + [9] * 3 + [1] * 9 + [3]


def test_halving_needs_several_fidelities(tiny_oracle: ArrayOracle) -> None:
    for strategy in (SuccessiveHalving(), Hyperband()):
        with pytest.raises(ConfigurationError, match="at least two lengths"):
            run_strategy(strategy, tiny_oracle, Budget(evaluations=3), rng())


# ---------------------------------------------------------------------------------------------------------------------
# Repeats


def test_repeats_do_not_depend_on_the_number_of_processes(tiny_oracle: ArrayOracle) -> None:
    one, two = (
        repeat(LocalSearch(), tiny_oracle, Budget(cost=20), [5.0, 20.0], repeats=5, seed=4, name="local", jobs=jobs)
        for jobs in (1, 2)
    )
    assert np.array_equal(one.incumbents, two.incumbents)
    assert np.array_equal(one.evaluations, two.evaluations)
    assert np.array_equal(one.spent, two.spent)


def test_incumbents_of_repeats_are_those_of_the_histories(tiny_oracle: ArrayOracle) -> None:
    from sharewise.strategy.repeats import generator

    found = repeat(RandomSearch(), tiny_oracle, Budget(cost=15), [0.5, 4.0, 15.0], repeats=3, seed=1, name="random")
    for number in range(3):
        history = run_strategy(RandomSearch(), tiny_oracle, Budget(cost=15), generator(1, "random", number))
        for place, checkpoint in enumerate(found.checkpoints):
            paid = [t for t, spent in zip(history.trials, history.spent, strict=True) if spent <= checkpoint]
            expected = max(paid, key=lambda trial: trial.value).genotype if paid else -1
            assert found.incumbents[number, place] == expected
    scores = found.scored(np.arange(24.0))
    assert np.isnan(scores[:, 0]).all()
    assert np.array_equal(scores[:, 2], found.incumbents[:, 2])


def test_published_settings_come_close_to_published_numbers(published: tuple[ArrayOracle, np.ndarray]) -> None:
    """NAS-Bench-201, CIFAR-100, 12 epochs, 20,000 s: random search below evolution, both where papers have them."""
    oracle, test = published
    signal = ArrayOracle(oracle.space, {12: oracle.values[12]}, {12: oracle.costs[12]}, "seconds")
    means = {}
    for name in ("random", "evolution"):
        strategy = build_strategy(name, oracle.space)
        found = repeat(strategy, signal, Budget(cost=20_000), [20_000], repeats=100, name=name)
        means[name] = float(found.scored(test).mean())
        assert found.evaluations.min() >= 50
    assert 70.6 < means["random"] < 71.6
    assert 71.2 < means["evolution"] < 72.4
    assert means["random"] < means["evolution"]


def test_a_training_that_failed_teaches_a_policy_nothing(tiny: Space) -> None:
    strategy, representation, random = Reinforce(), represent(tiny), rng(0)
    state = strategy.start(representation, (0,), random)
    proposal = strategy.propose(representation, state, random)
    assert proposal is not None
    for value in (float("-inf"), float("nan")):
        assert strategy.update(representation, state, Trial(proposal.genotype, value, 1.0)) is state


def test_public_names_are_what_they_say() -> None:
    import types

    import sharewise.oracle as oracle

    assert not [name for name in oracle.__all__ if isinstance(getattr(oracle, name), types.ModuleType)]
