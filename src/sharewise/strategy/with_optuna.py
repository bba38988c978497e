"""Optuna: spaces for its samplers, and its samplers as strategies (`pip install sharewise[strategies]`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Option, Space
from sharewise.strategy.bridges import categories
from sharewise.strategy.representation import ATTEMPTS, Representation
from sharewise.strategy.strategy import Proposal, Strategy, Trial

if TYPE_CHECKING:
    import optuna

__all__ = ["Sampler", "nsga2", "pareto_search", "require_optuna", "suggest", "tree_parzen_estimator"]

_Asked = tuple["optuna.trial.FrozenTrial", ...]


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ConfigurationError(
            "this strategy needs Optuna, which is not installed: pip install 'sharewise[strategies]'"
        ) from None
    return optuna


def require_optuna() -> None:
    """Say that Optuna is missing before anything is done that would need it.

    Raises:
        ConfigurationError: when it is not installed.
    """
    _optuna()


def suggest(space: Space, trial: optuna.Trial) -> Architecture:
    """Let a trial of Optuna pick an architecture, for use within one's own objective function.

    Ordered choices become integers, the place of the option, so that samplers know which options are close; the others
    become categories. A conditional choice is suggested only where it is active.

    Args:
        space: any.
        trial: asks the study's sampler.

    Returns:
        A legal architecture.

    Raises:
        optuna.TrialPruned: when the sampler picked values that the space does not allow, so that the study goes on.

    Example:
        >>> import optuna
        >>> from sharewise.spaces import nasbench201
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        >>> study.optimize(lambda trial: str(suggest(nasbench201(), trial)).count("conv_3x3"), n_trials=20)
        >>> study.best_value >= 2
        True
    """
    values: dict[str, Option] = {}
    for choice in space.choices:
        if choice.condition is None or choice.condition.holds(values):
            values[choice.name] = _suggest_option(choice, trial)
    try:
        return space.architecture(values)
    except ConfigurationError as error:
        raise _optuna().TrialPruned(str(error)) from None


def _suggest_option(choice: Choice, trial: optuna.Trial) -> Option:
    if choice.ordered:
        return choice.options[trial.suggest_int(choice.name, 0, len(choice.options) - 1)]
    shown = categories(choice)
    return choice.options[shown.index(trial.suggest_categorical(choice.name, shown))]


@final
@dataclass(frozen=True)
class Sampler(Strategy[_Asked]):
    """A sampler of Optuna as a strategy: each proposal asks a fresh study that holds the history.

    So a proposal is a pure function of history and random numbers, as with every other strategy; its price is that a
    run of n evaluations takes a time that grows as n².

    Args:
        build: makes the sampler from a seed.
        name: shown in messages.
        objectives: that it is made for.
    """

    build: Callable[[int], optuna.samplers.BaseSampler]
    name: str
    objectives: int = 1

    def start(self, representation: Representation, fidelities: tuple[int, ...], rng: np.random.Generator) -> _Asked:
        """See `Strategy.start`.

        Raises:
            ConfigurationError: when Optuna is not installed.
        """
        _optuna()
        return ()

    def propose(self, representation: Representation, state: _Asked, rng: np.random.Generator) -> Proposal:
        """See `Strategy.propose`; illegal and uncovered suggestions are asked for again, with other random numbers."""
        library = _optuna()
        directions = ["maximize"] * (len(state[0].values) if state else 1)
        with _quiet(library):
            for _ in range(ATTEMPTS):
                study = library.create_study(directions=directions, sampler=self.build(int(rng.integers(2**31))))
                study.add_trials(state)
                trial = study.ask()
                try:
                    architecture = suggest(representation.space, trial)
                except library.TrialPruned:
                    continue
                genotype = representation.genotype(architecture)
                if representation.allows(genotype):
                    return Proposal(genotype, None, study.trials[-1])
        raise ConfigurationError(f"{ATTEMPTS:,} suggestions of {self.name} in a row cannot be asked about")

    def update(self, representation: Representation, state: _Asked, trial: Trial) -> _Asked:
        """See `Strategy.update`."""
        library, asked = _optuna(), trial.note
        finished = library.trial.create_trial(
            values=[trial.value, *trial.others],
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
        )
        return (*state, finished)


def pareto_search(
    space: Space,
    objective: Callable[[list[Architecture]], Sequence[Sequence[float]]],
    *,
    objectives: int,
    asks: int,
    population: int = 50,
    seed: int = 0,
    first: Sequence[Architecture] = (),
) -> None:
    """NSGA-II of Optuna in one study, whose cost grows with what is asked and not with its square as that of `Sampler`.

    A generation is asked about at once, since its members depend on the one before and not on each other.

    Args:
        space: any.
        objective: of the architectures of a generation, in order: finite numbers of which higher is better, as many for
            every architecture; it keeps what it is told. Fewer answers than questions end the search.
        objectives: how many numbers.
        asks: how many architectures it is asked about at most; suggestions that the space does not allow count as well.
        population: members of a generation.
        seed: of all randomness: an equal objective is asked the same again.
        first: architectures that are asked about before any other.

    Raises:
        ConfigurationError: when Optuna is not installed.

    Example:
        >>> from sharewise.spaces import nats_size
        >>> seen = []
        >>> def objective(generation):
        ...     seen.extend(generation)
        ...     return [(a["channels_0"], -a["channels_4"]) for a in generation]
        >>> pareto_search(nats_size(), objective, objectives=2, asks=60, population=20)
        >>> len(seen), any(a["channels_0"] == 64 and a["channels_4"] == 8 for a in seen)
        (60, True)

    References:
        K. Deb et al., *A fast and elitist multiobjective genetic algorithm: NSGA-II*, IEEE TEC 2002.
    """
    library = _optuna()
    with _quiet(library):
        study = library.create_study(directions=["maximize"] * objectives, sampler=_Nsga2(population)(seed))
        for architecture in first:
            study.enqueue_trial(_parameters(space, architecture))
        while asks > 0:
            generation: list[tuple[Any, Architecture]] = []
            while asks > 0 and len(generation) < population:
                asks -= 1
                trial = study.ask()
                try:
                    generation.append((trial, suggest(space, trial)))
                except library.TrialPruned:
                    study.tell(trial, state=library.trial.TrialState.PRUNED)
            answers = objective([architecture for _, architecture in generation])
            if len(answers) < len(generation):
                return
            for (trial, _), numbers in zip(generation, answers, strict=True):
                study.tell(trial, list(numbers))


def _parameters(space: Space, architecture: Architecture) -> dict[str, Any]:
    """What a trial would have suggested for an architecture."""
    found = {}
    for name, option in space.own(architecture).items():
        place = space[name].index(option)
        found[name] = place if space[name].ordered else categories(space[name])[place]
    return found


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.WARNING)
    try:
        yield
    finally:
        library.logging.set_verbosity(before)


def tree_parzen_estimator(startup: int = 10) -> Sampler:
    """TPE of Optuna, with its defaults.

    Args:
        startup: random architectures before the model is used.

    References:
        J. Bergstra et al., *Algorithms for Hyper-Parameter Optimization*, NeurIPS 2011.

    Example:
        >>> tree_parzen_estimator().name
        'tpe'
    """
    return Sampler(_Tpe(startup), "tpe")


def nsga2(population: int = 50) -> Sampler:
    """NSGA-II of Optuna: all objectives of the oracle at once; see `sharewise.appraisal.pareto_front`.

    With a single objective it is a plain genetic algorithm.

    Args:
        population: members of a generation.

    References:
        K. Deb et al., *A fast and elitist multiobjective genetic algorithm: NSGA-II*, IEEE TEC 2002.

    Example:
        >>> nsga2(20).name
        'nsga2'
    """
    return Sampler(_Nsga2(population), "nsga2", objectives=2)


@final
@dataclass(frozen=True)
class _Tpe:
    """A value that builds the sampler, so that strategies can be sent to other processes."""

    startup: int

    def __call__(self, seed: int) -> optuna.samplers.BaseSampler:
        sampler: optuna.samplers.BaseSampler = _optuna().samplers.TPESampler(seed=seed, n_startup_trials=self.startup)
        return sampler


@final
@dataclass(frozen=True)
class _Nsga2:
    population: int

    def __call__(self, seed: int) -> optuna.samplers.BaseSampler:
        sampler: optuna.samplers.BaseSampler = _optuna().samplers.NSGAIISampler(
            seed=seed, population_size=self.population
        )
        return sampler
