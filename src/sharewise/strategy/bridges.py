"""Bridges: a space for the tuners of Optuna, Syne Tune and Ray Tune, and their answers back as architectures.

All three tuners get the same parameters, one for each choice: an ordered choice becomes the place of its option, an
integer, so that a tuner knows which options are close; any other becomes a category. Tuners draw parameters
independently, so conditions and constraints are obeyed on the way back: the parameter of an inactive choice is ignored,
and parameters that the space forbids are refused. For Optuna, `sharewise.strategy.with_optuna.suggest` asks only for
active choices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sharewise.errors import ConfigurationError
from sharewise.space import Architecture, Choice, Option, Space

__all__ = [
    "Parameter",
    "categories",
    "from_parameters",
    "optuna_distributions",
    "ray_tune_space",
    "syne_tune_space",
    "to_parameters",
]

Parameter = str | int | float
"""A value that every tuner can hold."""


def categories(choice: Choice) -> tuple[Parameter, ...]:
    """The options of a choice as values of one plain type: themselves where they are that, else JSON.

    Example:
        >>> categories(Choice("operation", ("skip", "conv"))), categories(Choice("inputs", ((0, 1), (0, 2))))
        (('skip', 'conv'), ('[0, 1]', '[0, 2]'))
    """
    plain = tuple(option for option in choice.options if not isinstance(option, tuple))
    if len(plain) == len(choice.options) and len({type(option) for option in plain}) == 1:
        return plain
    return tuple(json.dumps(option) for option in choice.options)


def to_parameters(space: Space, architecture: Architecture) -> dict[str, Parameter]:
    """An architecture as parameters, such as for a tuner's first points; those of active choices only.

    Args:
        space: of the architecture.
        architecture: to be written so.

    Example:
        >>> from sharewise.spaces import nats_size
        >>> to_parameters(nats_size(), nats_size().parse("8:16:64:64:8"))
        {'channels_0': 0, 'channels_1': 1, 'channels_2': 7, 'channels_3': 7, 'channels_4': 0}
    """
    choices = {choice.name: choice for choice in space.choices}
    return {name: _parameter(choices[name], option) for name, option in space.own(architecture).items()}


def from_parameters(space: Space, parameters: Mapping[str, Any]) -> Architecture:
    """The architecture of a tuner's parameters.

    Args:
        space: whose parameters they are.
        parameters: `trial.params` of Optuna, `trial.config` of Syne Tune, the `config` of a trainable of Ray Tune;
            parameters of one's own among them are ignored.

    Raises:
        ConfigurationError: when a parameter is missing or is no option, or the space forbids the combination.

    Example:
        >>> from sharewise.spaces import nats_size
        >>> str(from_parameters(nats_size(), {**{f"channels_{n}": n for n in range(5)}, "learning_rate": 0.1}))
        '8:16:24:32:40'
    """
    values: dict[str, Option] = {}
    for choice in space.choices:
        if choice.condition is None or choice.condition.holds(values):
            if choice.name not in parameters:
                raise ConfigurationError(f"parameter {choice.name!r} of space {space.name!r} is missing")
            values[choice.name] = _option(choice, parameters[choice.name])
    return space.architecture(values)


def _parameter(choice: Choice, option: Option) -> Parameter:
    place = choice.index(option)
    return place if choice.ordered else categories(choice)[place]


def _option(choice: Choice, parameter: Any) -> Option:
    legal = tuple(range(len(choice.options))) if choice.ordered else categories(choice)
    for option, known in zip(choice.options, legal, strict=True):
        if parameter == known:
            return option
    raise ConfigurationError(f"parameter {choice.name!r} is {parameter!r}; legal: {', '.join(map(repr, legal))}")


def optuna_distributions(space: Space) -> dict[str, Any]:
    """A distribution of Optuna for each choice: for `study.ask`, or for samplers that need the whole space at once.

    Args:
        space: any.

    Returns:
        Of `optuna.distributions.BaseDistribution`, by name.

    Raises:
        ConfigurationError: when Optuna is not installed.

    Example:
        >>> import optuna
        >>> from sharewise.spaces import nasbench201
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> trial = study.ask(optuna_distributions(nasbench201()))
        >>> from_parameters(nasbench201(), trial.params).space
        'nasbench201'
    """
    library = _imported("optuna.distributions", "Optuna", "strategies")
    return {
        choice.name: library.IntDistribution(0, len(choice.options) - 1)
        if choice.ordered
        else library.CategoricalDistribution(categories(choice))
        for choice in space.choices
    }


def syne_tune_space(space: Space) -> dict[str, Any]:
    """A `config_space` of Syne Tune.

    Args:
        space: any.

    Returns:
        Domains by name, to which constants and parameters of one's own may be added.

    Raises:
        ConfigurationError: when Syne Tune is not installed.

    Example:
        >>> from sharewise.spaces import nats_size
        >>> syne_tune_space(nats_size())["channels_0"]  # doctest: +SKIP
        randint(0, 7)
    """
    library = _imported("syne_tune.config_space", "Syne Tune", "syne-tune")
    return {
        choice.name: library.randint(0, len(choice.options) - 1)
        if choice.ordered
        else library.choice(list(categories(choice)))
        for choice in space.choices
    }


def ray_tune_space(space: Space) -> dict[str, Any]:
    """A `param_space` of Ray Tune.

    Args:
        space: any.

    Returns:
        Domains by name, to which constants and parameters of one's own may be added.

    Raises:
        ConfigurationError: when Ray Tune is not installed.

    Example:
        >>> from sharewise.spaces import nats_size
        >>> 0 <= ray_tune_space(nats_size())["channels_0"].sample() <= 7  # doctest: +SKIP
        True
    """
    library = _imported("ray.tune", "Ray Tune", "ray-tune")
    return {
        choice.name: library.randint(0, len(choice.options))  # without its end
        if choice.ordered
        else library.choice(list(categories(choice)))
        for choice in space.choices
    }


def _imported(module: str, library: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"{library} is not installed, or not whole ({error}): pip install 'sharewise[{extra}]'"
        ) from None
