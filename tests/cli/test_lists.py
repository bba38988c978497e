"""Lists on the command line: by commas, by spaces or both, in every option that takes one."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from typing import Any

import pytest

from sharewise.cli import main
from sharewise.cli.options import Field, Words, add_fields, listed
from sharewise.cli.parser import Parser
from sharewise.errors import ConfigurationError


def parser_of(kind: Any) -> Parser:
    parser = Parser("sharewise test")
    add_fields(parser.add_argument_group("options"), [Field("sizes", kind, (), "of layers")])
    return parser


@pytest.mark.parametrize("words", [["4", "8"], ["4,8"], ["4,", "8"], ["4,8,"]])
def test_numbers_are_listed_by_commas_or_spaces(words: list[str]) -> None:
    assert parser_of(tuple[int, ...]).parse(["--sizes", *words]).sizes == (4, 8)


def test_a_list_may_be_empty_but_not_one_of_its_parts() -> None:
    assert parser_of(tuple[int, ...]).parse(["--sizes"]).sizes == ()
    with pytest.raises(ConfigurationError, match=r"option --sizes: invalid int value: ''"):
        parser_of(tuple[int, ...]).parse(["--sizes", "4,,8"])
    with pytest.raises(ConfigurationError, match=r"option --sizes: invalid float value: 'x'"):
        parser_of(tuple[float, ...]).parse(["--sizes", "1e5,x"])


def test_words_are_listed_alike() -> None:
    assert listed(str)(["none,skip_connect", "max_pool"]) == ("none", "skip_connect", "max_pool")


@pytest.mark.parametrize("verb", ["search", "train", "cost", "compare"])
def test_every_option_that_takes_a_list_of_numbers_takes_commas(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Action] = []

    def parse(parser: Parser, words: list[str]) -> argparse.Namespace:
        seen.extend(parser._actions)
        raise ConfigurationError("seen")

    monkeypatch.setattr(Parser, "parse", parse)
    with pytest.raises(ConfigurationError, match="seen"):
        import_module(f"sharewise.cli.{verb}_verb").execute(Parser("sharewise"), [])
    several = [action for action in seen if action.nargs in ("+", "*") and action.type in (int, float)]
    assert several == []
    assert any(isinstance(action, Words) for action in seen) or verb == "train"


def test_cost_takes_the_words_and_both_ways_to_write_a_shape(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["cost", "--space", "conv-macro", "--architecture", "largest", "--outputs", "5", "--json", "--input-shape"]
    assert main([*asked, "1", "12", "12"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main([*asked, "1,12,12"]) == 0
    assert json.loads(capsys.readouterr().out) == one
    assert one["input_shape"] == [1, 12, 12]
    assert json.loads(one["architecture"])["channels_4"] == 256
    assert main(["cost", "--architecture", "largest"]) == 2
    assert "has no largest architecture" in capsys.readouterr().err
