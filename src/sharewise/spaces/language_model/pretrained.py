"""Trained models of the forms of GPT-2 and of Llama, read from the files in which transformers keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sharewise.errors import DataError, shown
from sharewise.spaces.language_model.llama import Llama
from sharewise.spaces.language_model.network import Network
from sharewise.spaces.language_model.saved import Row, number_of, require_fixed, settings_of, sizes_of, tensors_of
from sharewise.supernet.without_values import without_values

__all__ = ["gpt2", "llama"]

_SIZES: Mapping[str, int] = {
    "n_embd": 1 << 16,
    "n_layer": 1 << 10,
    "n_head": 1 << 10,
    "vocab_size": 1 << 22,
    "n_positions": 1 << 22,
}
"""The names of sizes in a configuration, and more than any model has of each."""
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", None),
    "layer_norm_epsilon": (1e-5, None),
    "scale_attn_weights": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "add_cross_attention": (False, None),
    "tie_word_embeddings": (True, None),
}
"""What a configuration must say, where it says anything, for the network to be the same function."""


def gpt2(folder: str | os.PathLike[str], *, dropout: float = 0.0) -> Network:
    """Read a trained GPT-2: the plain network of the space `language-model` with its weights.

    It is the largest network of a space of its own sizes, and `sharewise.elastic` makes a space of it, of which it is
    the largest architecture, output for output. Nothing is downloaded, and transformers need not be installed.

    Args:
        folder: as `save_pretrained` writes it, with `config.json` and `model.safetensors`.
        dropout: of further training, in [0, 1).

    Returns:
        The network in evaluation mode, with biases. Its logits are those of `GPT2LMHeadModel` up to rounding.

    Raises:
        DataError: when a file is missing or damaged, a link, too large, or of another kind of model.

    Example:
        >>> gpt2("no/such/folder")
        Traceback (most recent call last):
        sharewise.errors.DataError: cannot read 'no/such/folder/config.json' (No such file or directory); ...

    Deviations:
        Feature f of queries, keys and values belongs to head f mod heads, where GPT-2's heads have neighbouring
        features: rows of attention are put into that order.
    """
    place = Path(folder)
    sizes = _configuration(place / "config.json")
    features, layers, heads = sizes["n_embd"], sizes["n_layer"], sizes["n_head"]
    shape = features, (sizes["n_inner"] // features,) * layers, (heads,) * layers
    tensors = tensors_of(place / "model.safetensors", "transformer.")
    found = {row.ours: row.read(place, tensors) for row in _rows(sizes)}
    with without_values():
        network = Network(*shape, sizes["n_positions"], sizes["vocab_size"], dropout, bias=True)
    network.load_state_dict(found, strict=False, assign=True)
    network.head.weight = network.tokens.weight
    return network.requires_grad_(True).eval()


def _configuration(path: Path) -> dict[str, int]:
    """The sizes of a model, all of which are possible."""
    found = settings_of(path)
    require_fixed(path, found, _FIXED)
    sizes = sizes_of(path, found, _SIZES)
    inner = found.get("n_inner")
    sizes["n_inner"] = 4 * sizes["n_embd"] if inner is None else inner
    if sizes["n_embd"] % sizes["n_head"]:
        raise DataError(f"{str(path)!r}: n_head {sizes['n_head']} does not divide n_embd {sizes['n_embd']}")
    if (
        type(sizes["n_inner"]) is not int
        or not sizes["n_embd"] <= sizes["n_inner"]
        or sizes["n_inner"] % sizes["n_embd"]
    ):
        raise DataError(f"{str(path)!r}: n_inner must be a multiple of n_embd, {sizes['n_embd']}, got {shown(inner)}")
    return sizes


def _rows(sizes: Mapping[str, int]) -> Iterator[Row]:
    """All tensors of a GPT-2, whose linear layers hold their weights as (inputs, outputs)."""
    e, inner = sizes["n_embd"], sizes["n_inner"]
    order = torch.arange(e, device="cpu").view(sizes["n_head"], -1).t().flatten()
    yield Row("tokens.weight", "wte.weight", (sizes["vocab_size"], e))
    yield Row("positions.weight", "wpe.weight", (sizes["n_positions"], e))
    for kind in ("weight", "bias"):
        yield Row(f"norm.{kind}", f"ln_f.{kind}", (e,))
    for i in range(sizes["n_layer"]):
        ours, theirs = f"layers.{i}", f"h.{i}"
        for kind in ("weight", "bias"):
            yield Row(f"{ours}.attention_norm.{kind}", f"{theirs}.ln_1.{kind}", (e,))
            yield Row(f"{ours}.perceptron_norm.{kind}", f"{theirs}.ln_2.{kind}", (e,))
        for part, name in enumerate(("query", "key", "value")):
            columns = order + part * e
            attention, fused = f"{ours}.attention.{name}", f"{theirs}.attn.c_attn"
            yield Row(f"{attention}.weight", f"{fused}.weight", (e, 3 * e), partial(_columns, columns))
            yield Row(f"{attention}.bias", f"{fused}.bias", (3 * e,), partial(_columns, columns))
        project, first, second = f"{theirs}.attn.c_proj", f"{theirs}.mlp.c_fc", f"{theirs}.mlp.c_proj"
        yield Row(f"{ours}.attention.project.weight", f"{project}.weight", (e, e), lambda w: w[order].t())
        yield Row(f"{ours}.attention.project.bias", f"{project}.bias", (e,))
        yield Row(f"{ours}.perceptron.0.weight", f"{first}.weight", (e, inner), torch.t)
        yield Row(f"{ours}.perceptron.0.bias", f"{first}.bias", (inner,))
        yield Row(f"{ours}.perceptron.2.weight", f"{second}.weight", (inner, e), torch.t)
        yield Row(f"{ours}.perceptron.2.bias", f"{second}.bias", (e,))


def _columns(columns: Tensor, tensor: Tensor) -> Tensor:
    """Some columns of a matrix as the rows of another one, or some elements of a vector."""
    return tensor[..., columns].t()


_LLAMA_SIZES: Mapping[str, int] = {
    "hidden_size": 1 << 16,
    "intermediate_size": 1 << 18,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 10,
    "vocab_size": 1 << 22,
}
_LLAMA_FIXED: Mapping[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "rope_scaling": (None,),
}


def llama(folder: str | os.PathLike[str]) -> Llama:
    """Read a trained Llama: a plain network with its weights, which `sharewise.elastic` makes a space of.

    Choose the number of `layers.*` (`depth`), the heads of `layers.*.attention` (`heads`: those of queries, as many of
    which as share keys go together) and the hidden width of `layers.*.perceptron.gate` (`width`). The model is the
    largest architecture, output for output. Nothing is downloaded, and transformers need not be installed.

    Args:
        folder: as `save_pretrained` writes it, with `config.json` and `model.safetensors`.

    Returns:
        The network in evaluation mode. Its logits are those of `LlamaForCausalLM` up to rounding.

    Raises:
        DataError: when a file is missing or damaged, a link, too large, or of another kind of model.

    Example:
        >>> llama("no/such/folder")
        Traceback (most recent call last):
        sharewise.errors.DataError: cannot read 'no/such/folder/config.json' (No such file or directory); ...

    References:
        H. Touvron et al., *LLaMA*, 2023 (arXiv 2302.13971); J. Ainslie et al., *GQA*, 2023 (arXiv 2305.13245).

    Deviations:
        Rotations are those of one base; the scaled ones of Llama 3.1 are refused, and so are biases.
    """
    place = Path(folder)
    path = place / "config.json"
    settings = settings_of(path)
    require_fixed(path, settings, _LLAMA_FIXED)
    sizes = sizes_of(path, settings, _LLAMA_SIZES)
    heads = sizes["num_attention_heads"]
    groups = _whole(path, settings, "num_key_value_heads", heads, heads)
    size = _whole(path, settings, "head_dim", max(sizes["hidden_size"] // heads, 1), sizes["hidden_size"])
    if heads % groups or size % 2:
        raise DataError(
            f"{str(path)!r}: num_key_value_heads must divide num_attention_heads and head_dim be even, got {groups}, "
            f"{heads} and {size}"
        )
    tied = settings.get("tie_word_embeddings")
    if not isinstance(tied, bool | None):
        raise DataError(f"{str(path)!r}: tie_word_embeddings is {shown(tied)}, only True or False can be read")
    network = Llama(
        sizes["hidden_size"],
        sizes["intermediate_size"],
        sizes["num_hidden_layers"],
        heads,
        groups,
        sizes["vocab_size"],
        head_size=size,
        base=_base(path, settings),
        eps=number_of(path, settings, "rms_norm_eps", 1e-6),
        tied=bool(tied),
        device="meta",
    )
    tensors = tensors_of(place / "model.safetensors", "model.")
    names = [name for name, _ in network.named_parameters()]
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    found = {name: Row(name, _theirs(name), shapes[name]).read(place, tensors) for name in names}
    network.load_state_dict(found, strict=False, assign=True)
    if tied:
        network.head.weight = network.tokens.weight
    return network.requires_grad_(True).eval()


def _whole(path: Path, settings: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A whole number that may be absent."""
    given = {name: default} if settings.get(name) is None else settings
    return sizes_of(path, given, {name: most})[name]


def _base(path: Path, settings: Mapping[str, Any]) -> float:
    """Of the rotations, which is a setting by itself, or one among those of rotations."""
    own = settings.get("rope_parameters")
    if own is None:
        return number_of(path, settings, "rope_theta", 10000.0)
    if not isinstance(own, dict):
        raise DataError(f"{str(path)!r}: rope_parameters must be settings by name, got {shown(own)}")
    require_fixed(path, own, {"rope_type": ("default", None)})
    return number_of(path, own, "rope_theta", 10000.0)


_LLAMA_NAMES: Mapping[str, str] = {
    "tokens": "embed_tokens",
    "head": "lm_head",
    "attention_norm": "input_layernorm",
    "perceptron_norm": "post_attention_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.project": "self_attn.o_proj",
    "perceptron.gate": "mlp.gate_proj",
    "perceptron.up": "mlp.up_proj",
    "perceptron.down": "mlp.down_proj",
}


def _theirs(ours: str) -> str:
    """The name that a parameter of a Llama has in transformers, without `model.`."""
    module = ours.removesuffix(".weight")
    layer, number, part = module.split(".", 2) if module.startswith("layers.") else ("", "", module)
    name = _LLAMA_NAMES.get(part, part)
    return f"{layer}.{number}.{name}.weight" if layer else f"{name}.weight"
