"""Trained models of the form of GPT-2, read from the files in which transformers keeps them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sharewise.errors import DataError, shown
from sharewise.files import read_bytes
from sharewise.sealed_json import parse_json
from sharewise.spaces.language_model.network import Network

__all__ = ["gpt2"]

_MOST_CONFIGURATION = 1 << 20
_MOST = 1 << 34  # bytes of weights
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
    tensors = _tensors(place / "model.safetensors")
    found = {row.ours: row.read(place, tensors) for row in _rows(sizes)}
    with torch.device("meta"):
        network = Network(*shape, sizes["n_positions"], sizes["vocab_size"], dropout, bias=True)
    network.load_state_dict(found, strict=False, assign=True)
    network.head.weight = network.tokens.weight
    return network.requires_grad_(True).eval()


def _read(path: Path, most: int) -> bytes:
    try:
        return read_bytes(path, most=most)
    except OSError as error:
        raise DataError(
            f"cannot read {str(path)!r} ({error.strerror}); give a folder as save_pretrained of transformers writes it"
        ) from None


def _configuration(path: Path) -> dict[str, int]:
    """The sizes of a model, all of which are possible."""
    try:
        found = parse_json(_read(path, _MOST_CONFIGURATION))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{str(path)!r} must hold the settings of a model by name")
    for name, legal in _FIXED.items():
        value = found.get(name)
        if not any(value == each and type(value) is type(each) for each in legal):
            raise DataError(f"{str(path)!r}: {name} is {shown(value)}, only {legal[0]!r} can be read")
    sizes = {}
    for name, most in _SIZES.items():
        size = found.get(name)
        if type(size) is not int or not 1 <= size <= most:
            raise DataError(f"{str(path)!r}: {name} must be a whole number from 1 to {most:,}, got {shown(size)}")
        sizes[name] = size
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


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        found = load(_read(path, _MOST))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no file of safetensors: {error}") from None
    return {name.removeprefix("transformer."): tensor for name, tensor in found.items()}


@final
@dataclass(frozen=True)
class _Row:
    """One of our tensors, and where it comes from.

    Args:
        ours: its name in our network.
        theirs: the name in GPT-2.
        shape: of theirs.
        change: from theirs to ours.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    change: Callable[[Tensor], Tensor] = torch.Tensor.contiguous

    def read(self, place: Path, tensors: Mapping[str, Tensor]) -> Tensor:
        """Our tensor.

        Raises:
            DataError: when theirs is missing, or of another shape or type.
        """
        tensor = tensors.get(self.theirs)
        if tensor is None:
            raise DataError(
                f"{str(place)!r} holds no tensor {self.theirs!r}, which a GPT-2 of its config.json has; is it another "
                "kind of model?"
            )
        if tuple(tensor.shape) != self.shape or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DataError(
                f"{str(place)!r} holds another model than its config.json says: {self.theirs!r} should have the shape "
                f"{self.shape}, it has {tuple(tensor.shape)} of {kind}"
            )
        return self.change(tensor).float().contiguous()


def _rows(sizes: Mapping[str, int]) -> Iterator[_Row]:
    """All tensors of a GPT-2, whose linear layers hold their weights as (inputs, outputs)."""
    e, inner = sizes["n_embd"], sizes["n_inner"]
    order = torch.arange(e, device="cpu").view(sizes["n_head"], -1).t().flatten()
    yield _Row("tokens.weight", "wte.weight", (sizes["vocab_size"], e))
    yield _Row("positions.weight", "wpe.weight", (sizes["n_positions"], e))
    for kind in ("weight", "bias"):
        yield _Row(f"norm.{kind}", f"ln_f.{kind}", (e,))
    for i in range(sizes["n_layer"]):
        ours, theirs = f"layers.{i}", f"h.{i}"
        for kind in ("weight", "bias"):
            yield _Row(f"{ours}.attention_norm.{kind}", f"{theirs}.ln_1.{kind}", (e,))
            yield _Row(f"{ours}.perceptron_norm.{kind}", f"{theirs}.ln_2.{kind}", (e,))
        for part, name in enumerate(("query", "key", "value")):
            columns = order + part * e
            attention, fused = f"{ours}.attention.{name}", f"{theirs}.attn.c_attn"
            yield _Row(f"{attention}.weight", f"{fused}.weight", (e, 3 * e), partial(_columns, columns))
            yield _Row(f"{attention}.bias", f"{fused}.bias", (3 * e,), partial(_columns, columns))
        project, first, second = f"{theirs}.attn.c_proj", f"{theirs}.mlp.c_fc", f"{theirs}.mlp.c_proj"
        yield _Row(f"{ours}.attention.project.weight", f"{project}.weight", (e, e), lambda w: w[order].t())
        yield _Row(f"{ours}.attention.project.bias", f"{project}.bias", (e,))
        yield _Row(f"{ours}.perceptron.0.weight", f"{first}.weight", (e, inner), torch.t)
        yield _Row(f"{ours}.perceptron.0.bias", f"{first}.bias", (inner,))
        yield _Row(f"{ours}.perceptron.2.weight", f"{second}.weight", (inner, e), torch.t)
        yield _Row(f"{ours}.perceptron.2.bias", f"{second}.bias", (e,))


def _columns(columns: Tensor, tensor: Tensor) -> Tensor:
    """Some columns of a matrix as the rows of another one, or some elements of a vector."""
    return tensor[..., columns].t()
