"""A trained Llama from the files of transformers: the same function, shrunk, and what strangers may put there."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import sharewise as sw
from sharewise.errors import DataError
from sharewise.spaces.language_model.pretrained import llama
from sharewise.testing import check_model

TOKENS = torch.randint(0, 40, (3, 9), generator=torch.Generator().manual_seed(0))
SETTINGS: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 12,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "tie_word_embeddings": False,
}
CHOICES = {
    "layers.*": sw.depth([1, 2], name="layers"),
    "layers.*.attention": sw.heads([2, 4]),
    "layers.*.perceptron.gate": sw.width([8, 16, 24]),
}


def shapes(tied: bool = False, size: int = 4) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (40, 16), "model.norm.weight": (16,)}
    for i in range(2):
        layer = f"model.layers.{i}"
        found |= {f"{layer}.{name}.weight": (16,) for name in ("input_layernorm", "post_attention_layernorm")}
        found |= {
            f"{layer}.self_attn.q_proj.weight": (4 * size, 16),
            f"{layer}.self_attn.o_proj.weight": (16, 4 * size),
        }
        found |= {f"{layer}.self_attn.{name}_proj.weight": (2 * size, 16) for name in "kv"}
        found |= {f"{layer}.mlp.{name}_proj.weight": (24, 16) for name in ("gate", "up")}
        found[f"{layer}.mlp.down_proj.weight"] = (16, 24)
    return found if tied else {**found, "lm_head.weight": (40, 16)}


def written(folder: Path, tied: bool = False, size: int = 4, **changes: Any) -> dict[str, Tensor]:
    """A folder as transformers writes it, and its tensors."""
    generator = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes(tied, size).items()}
    save_file(tensors, folder / "model.safetensors")
    settings = {**SETTINGS, "tie_word_embeddings": tied, **({} if size == 4 else {"head_dim": size}), **changes}
    (folder / "config.json").write_text(json.dumps(settings))
    return tensors


def by_hand(w: dict[str, Tensor], tokens: Tensor, size: int) -> Tensor:
    """Logits of one text by the equations, place by place and head by head, in double precision."""
    w = {name.removeprefix("model."): tensor.double() for name, tensor in w.items()}

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return weight * x / torch.sqrt((x * x).mean() + 1e-5)

    def turned(x: Tensor, place: int) -> Tensor:
        y, half = x.clone(), size // 2
        for i in range(half):
            angle = place * 500.0 ** (-2 * i / size)
            y[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
            y[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
        return y

    stream = [w["embed_tokens.weight"][token] for token in tokens.tolist()]
    for i in range(2):
        layer = f"layers.{i}"
        inputs = [norm(x, w[f"{layer}.input_layernorm.weight"]) for x in stream]
        q, k, v = ([w[f"{layer}.self_attn.{name}_proj.weight"] @ x for x in inputs] for name in "qkv")
        for place in range(len(stream)):
            heads = []
            for head in range(4):
                own, shared = (
                    slice(size * head, size * head + size),
                    slice(size * (head // 2), size * (head // 2) + size),
                )
                query = turned(q[place][own], place)
                scores = torch.stack([query @ turned(k[p][shared], p) / math.sqrt(size) for p in range(place + 1)])
                heads.append(sum(s * v[p][shared] for p, s in enumerate(scores.softmax(0))))
            stream[place] = stream[place] + w[f"{layer}.self_attn.o_proj.weight"] @ torch.cat(heads)  # type: ignore[arg-type]
        for place, x in enumerate(stream):
            y = norm(x, w[f"{layer}.post_attention_layernorm.weight"])
            gate, up = w[f"{layer}.mlp.gate_proj.weight"] @ y, w[f"{layer}.mlp.up_proj.weight"] @ y
            stream[place] = x + w[f"{layer}.mlp.down_proj.weight"] @ (gate * torch.sigmoid(gate) * up)
    head = w.get("lm_head.weight", w["embed_tokens.weight"])
    return torch.stack([head @ norm(x, w["norm.weight"]) for x in stream])


@pytest.mark.parametrize(("tied", "size"), [(False, 4), (True, 6)])
def test_the_network_computes_the_equations(tied: bool, size: int, tmp_path: Path) -> None:
    tensors = written(tmp_path, tied, size)
    network = llama(tmp_path).double()
    with torch.no_grad():
        torch.testing.assert_close(network(TOKENS[:1])[0], by_hand(tensors, TOKENS[0], size), rtol=1e-5, atol=1e-5)
    assert (network.head.weight is network.tokens.weight) == tied
    assert not network.training


@pytest.mark.parametrize("tied", [False, True])
def test_the_network_computes_what_transformers_do(tied: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    sizes = {name: value for name, value in SETTINGS.items() if name not in ("model_type", "rope_theta")}
    configuration = transformers.LlamaConfig(**{**sizes, "tie_word_embeddings": tied}, bos_token_id=0, eos_token_id=0)
    model = transformers.LlamaForCausalLM(configuration).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    network = llama(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(network(TOKENS), model(TOKENS).logits, rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in model.parameters())


def test_it_shrinks_by_depth_heads_and_hidden_width(tmp_path: Path) -> None:
    tensors = written(tmp_path)
    supernet = sw.elastic(llama(tmp_path), CHOICES, example=TOKENS)
    check_model(supernet)
    attention = sw.extract(supernet, supernet.smallest).layers[0].attention  # type: ignore[index, union-attr]
    for part, rows in (("query", 8), ("key", 4), ("value", 4)):
        whole = tensors[f"model.layers.0.self_attn.{part[0]}_proj.weight"]
        assert torch.equal(getattr(attention, part).weight, whole[:rows]), "a head of keys goes with its queries"


def test_it_is_put_in_order_and_computes_the_same(tmp_path: Path) -> None:
    written(tmp_path)
    supernet = sw.elastic(llama(tmp_path).double(), CHOICES, example=TOKENS)
    largest = sw.extract(supernet, supernet.largest)
    order = sw.sort_by_importance(supernet, "magnitude")
    assert any(list(places) != sorted(places) for places in order.values())
    with torch.no_grad():
        again = sw.extract(supernet, supernet.largest)(TOKENS)
        torch.testing.assert_close(again, largest(TOKENS), rtol=1e-10, atol=1e-10)


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    found = load_file(folder / "model.safetensors")
    change(found)
    save_file(found, folder / "model.safetensors")


SCALED = {"rope_type": "llama3", "factor": 8.0}
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another model": (lambda f: config(f, model_type="gpt2"), "model_type is 'gpt2', only 'llama'"),
    "biases": (lambda f: config(f, attention_bias=True), "attention_bias is True, only False"),
    "scaled rotations": (lambda f: config(f, rope_scaling=SCALED), "rope_scaling is .*, only None"),
    "scaled rotations of later versions": (lambda f: config(f, rope_parameters=SCALED), "rope_type is 'llama3'"),
    "no base": (lambda f: config(f, rope_theta=-1), "rope_theta must be a positive number, got -1"),
    "a norm without epsilon": (lambda f: config(f, rms_norm_eps="1e-5"), "rms_norm_eps must be a positive number"),
    "heads that cannot be shared": (lambda f: config(f, num_key_value_heads=3), "must divide num_attention_heads"),
    "an odd head": (lambda f: config(f, head_dim=5), "head_dim be even"),
    "very many layers": (lambda f: config(f, num_hidden_layers=10**9), "num_hidden_layers must be a whole number"),
    "more layers than there are": (lambda f: config(f, num_hidden_layers=3), "holds no tensor 'layers.2."),
    "another width": (lambda f: config(f, intermediate_size=32), r"should have the shape \(32, 16\)"),
    "a tied head in words": (lambda f: config(f, tie_word_embeddings="no"), "only True or False"),
    "no head": (lambda f: tensors(f, lambda t: t.pop("lm_head.weight")), "holds no tensor 'lm_head.weight'"),
    "integers": (
        lambda f: tensors(f, lambda t: t.update({"model.norm.weight": torch.zeros(16, dtype=torch.long)})),
        "it has .* of int64",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot read .*model.safetensors"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_damaged_folder_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    written(tmp_path)
    damage, message = BAD[what]
    damage(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        llama(tmp_path)
    assert "\n" not in str(caught.value)
