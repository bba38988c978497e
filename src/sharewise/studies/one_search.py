"""One search under several seeds, and what each found retrained: the study that a single result calls for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sharewise.cost import Latency
from sharewise.errors import ConfigurationError, unknown_name
from sharewise.run.configuration import SearchConfiguration
from sharewise.run.standalone import TrainingRecipe
from sharewise.space import Space
from sharewise.strict_yaml import parse_yaml
from sharewise.studies.plan import SETTINGS, Arm, DataPart, JudgeSettings, SpacePart, StudyPlan
from sharewise.supernet import networks_of

__all__ = ["plan_of_search", "retraining"]


def retraining(words: Sequence[str], space: Space) -> JudgeSettings:
    """How found architectures are retrained, as a command line says it: a recipe, and what shall differ from it.

    Args:
        words: the name of a recipe, then options as `name=value`: of the training, or of the network that is trained.
        space: whose network that is.

    Raises:
        ConfigurationError: for a word that is neither.

    Example:
        >>> from sharewise.spaces import load
        >>> found = retraining(["nasbench201-12", "epochs=3", "channels=8"], load("nasbench201"))
        >>> dict(found.training), dict(found.network)
        ({'recipe': 'nasbench201-12', 'epochs': 3}, {'channels': 8})
    """
    recipe, *changes = words
    training: dict[str, Any] = {"recipe": recipe}
    network: dict[str, Any] = {}
    own = [field.name for field in fields(TrainingRecipe)]
    legal = [*own, *(field.name for field in fields(networks_of(space).options))]
    for word in changes:
        name, equals, text = word.partition("=")
        name = name.strip("-").replace("-", "_")
        if not equals:
            raise ConfigurationError(
                f"a retraining is the name of a recipe and options as NAME=VALUE, such as epochs=3, got {word!r}"
            )
        if name not in legal:
            raise unknown_name("option of a retraining:", name, legal)
        (training if name in own else network)[name] = _value(word, text)
    return JudgeSettings("training", training=training, network=network)


def _value(word: str, text: str) -> Any:
    """A value as a YAML file has it."""
    try:
        return parse_yaml(text.encode())
    except ValueError as error:
        raise ConfigurationError(f"cannot read the value of {word!r}: {' '.join(str(error).split())}") from None


def plan_of_search(configuration: SearchConfiguration, seeds: Sequence[int], judge: JudgeSettings) -> StudyPlan:
    """The study of one search under several seeds.

    Args:
        configuration: of the search, whose own seed does not count.
        seeds: of the searches, and of their trainings.
        judge: how what was found is judged.

    Raises:
        ConfigurationError: when a setting belongs to a single search.

    Example:
        >>> plan = plan_of_search(SearchConfiguration(method="darts", max_steps=9), (0, 1), JudgeSettings())
        >>> [cell.name for cell in plan.cells()], plan.cells()[0].configuration.max_steps
        (['darts-seed0', 'darts-seed1'], 9)
    """
    if configuration.threads is not None:
        raise ConfigurationError("searches of several seeds compute on one thread each: leave threads out, give jobs")
    plan = StudyPlan(
        methods=(Arm(configuration.method, options=configuration.recipe),),
        spaces=(SpacePart(configuration.space, network=configuration.network),),
        data=(
            DataPart(
                configuration.data,
                path=configuration.data_path,
                train_examples=configuration.train_examples,
                image_size=configuration.image_size,
                text_length=configuration.text_length,
            ),
        ),
        seeds=tuple(seeds),
        title=f"{configuration.method} in {configuration.load_space().name} on {configuration.data}",
        judge=judge,
        gap_examples=configuration.gap_examples,
        checkpoint_every=configuration.checkpoint_every,
        device=configuration.device,
        precision=configuration.precision,
        settings=_settings(configuration),
    )
    own = () if configuration.own is None else (configuration.own,)
    return StudyPlan.from_plain(plan.to_plain(), own)  # plain values throughout, as its folder keeps them


def _settings(configuration: SearchConfiguration) -> Mapping[str, Any]:
    """What a plan says of every search and nothing else does."""
    found = {field.name: getattr(configuration, field.name) for field in fields(configuration)}
    usual = {field.name: field.default for field in fields(configuration)}
    table = configuration.latency
    plain = {**found, "latency": None if table is None else Latency.from_json(table).to_json()}
    return {name: plain[name] for name in SETTINGS if found[name] != usual[name]}
