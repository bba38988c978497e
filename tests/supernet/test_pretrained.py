"""A trained GPT-2 from the files of transformers: the same function, shrunk, and what strangers may put there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import sharewise as sw
from sharewise.errors import DataError
from sharewise.spaces.language_model.pretrained import gpt2
from sharewise.testing import check_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")

TOKENS = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    configuration = transformers.GPT2Config(
        vocab_size=40, n_positions=12, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    made = transformers.GPT2LMHeadModel(configuration).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path)
    return tmp_path


def test_the_network_computes_what_the_model_does(model: Any, folder: Path) -> None:
    network = gpt2(folder)
    with torch.no_grad():
        torch.testing.assert_close(network(TOKENS), model(TOKENS).logits, rtol=1e-4, atol=1e-4)
    assert network.head.weight is network.tokens.weight
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in model.parameters())
    assert not network.training


def test_it_shrinks_by_depth_heads_and_hidden_width(folder: Path) -> None:
    choices = {
        "layers.*": sw.depth([1, 2], name="layers"),
        "layers.*.attention": sw.heads([1, 2, 4]),
        "layers.*.perceptron": sw.width([16, 32, 64]),
    }
    network = gpt2(folder)
    supernet = sw.elastic(network, choices, example=TOKENS)
    check_model(supernet)
    small = sw.extract(supernet, supernet.smallest)
    query = small.layers[0].attention.query.weight  # type: ignore[index, union-attr]
    assert torch.equal(query, network.layers[0].attention.query.weight[0::4])  # type: ignore[union-attr, index]
    assert small.layers[0].attention.heads.heads == 1  # type: ignore[index, union-attr]


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    found = load_file(folder / "model.safetensors")
    change(found)
    save_file(found, folder / "model.safetensors")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "cannot read .*config.json"),
    "a configuration that is a list": (lambda f: (f / "config.json").write_text("[]"), "settings of a model by name"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "no valid JSON"),
    "a name twice": (lambda f: (f / "config.json").write_text('{"a": 1, "a": 2}'), "given twice"),
    "another model": (lambda f: config(f, model_type="llama"), "model_type is 'llama', only 'gpt2'"),
    "another activation": (lambda f: config(f, activation_function="relu"), "activation_function is 'relu'"),
    "a truth value": (lambda f: config(f, n_layer=True), "n_layer must be a whole number from 1 to"),
    "very many layers": (lambda f: config(f, n_layer=10**9), "n_layer must be a whole number"),
    "more layers than there are": (lambda f: config(f, n_layer=3), r"holds no tensor 'h.2.ln_1.weight'"),
    "other heads": (lambda f: config(f, n_head=3), "n_head 3 does not divide n_embd 16"),
    "another width": (lambda f: config(f, n_embd=32), r"'wte.weight' should have the shape \(40, 32\)"),
    "an inner width in words": (lambda f: config(f, n_inner="64"), "n_inner must be a multiple of n_embd"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot read .*model.safetensors"),
    "no safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "is no file of safetensors"),
    "cut weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-8]),
        "is no file of safetensors",
    ),
    "integers": (
        lambda f: tensors(f, lambda t: t.update({"transformer.ln_f.bias": torch.zeros(16, dtype=torch.long)})),
        "it has .* of int64",
    ),
    "a tensor with more axes": (
        lambda f: tensors(f, lambda t: t.update({"transformer.h.0.attn.c_attn.weight": torch.zeros(1, 16, 48)})),
        "should have the shape",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_folder_is_refused_in_one_line(what: str, folder: Path) -> None:
    damage, message = BAD[what]
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        gpt2(folder)
    assert "\n" not in str(caught.value)


def test_a_link_is_not_followed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder / "elsewhere")
    with pytest.raises(DataError, match="no regular file but a link"):
        gpt2(folder)
