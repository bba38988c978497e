"""Models of other packages, built from a configuration; skipped where the package is not installed."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sharewise as sw
from sharewise.testing import check_model, check_supernet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")


class Logits(nn.Module):
    """The one output that is scored; hidden states beside it would keep their sizes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.arguments = ("input_ids", "decoder_input_ids") if hasattr(model, "decoder") else ("input_ids",)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(**dict.fromkeys(self.arguments, x)).logits


def gpt2() -> tuple[nn.Module, dict[str, Any], Tensor]:
    configuration = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=32, n_layer=3, n_head=4, use_cache=False, bos_token_id=0, eos_token_id=0
    )
    h = "model.transformer.h.*"
    choices = {h: sw.depth([1, 2, 3]), f"{h}.mlp": sw.width([32, 128]), f"{h}.attn": sw.heads([2, 4])}
    return transformers.GPT2LMHeadModel(configuration), choices, torch.randint(0, 50, (3, 12))


def bert() -> tuple[nn.Module, dict[str, Any], Tensor]:
    configuration = transformers.BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    layer = "model.bert.encoder.layer.*"
    choices = {
        layer: sw.depth([1, 2]),
        f"{layer}.intermediate.dense": sw.width([32, 64]),
        f"{layer}.attention": sw.heads([2, 4]),
    }
    return transformers.BertForSequenceClassification(configuration), choices, torch.randint(0, 50, (3, 12))


def llama() -> tuple[nn.Module, dict[str, Any], Tensor]:
    configuration = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=64,
        use_cache=False,
    )
    layers = "model.model.layers.*"
    choices = {layers: sw.depth([1, 2]), f"{layers}.mlp": sw.width([32, 64]), f"{layers}.self_attn": sw.heads([2, 4])}
    return transformers.LlamaForCausalLM(configuration), choices, torch.randint(0, 50, (3, 12))


def t5() -> tuple[nn.Module, dict[str, Any], Tensor]:
    """`shared` is executed as `encoder.embed_tokens` and `decoder.embed_tokens`, and read as the head."""
    configuration = transformers.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, use_cache=False, decoder_start_token_id=0
    )
    wi = "model.{}.block.*.layer.*.DenseReluDense.wi"
    choices = {wi.format(stack): sw.width([32, 64]) for stack in ("encoder", "decoder")}
    model = transformers.T5ForConditionalGeneration(configuration)
    return model, {"model.shared": sw.width([16, 32]), **choices}, torch.randint(0, 50, (3, 12))


@pytest.mark.parametrize("build", [gpt2, bert, llama, t5], ids=lambda function: function.__name__)
def test_models_of_transformers(build: Any) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, choices, example = build()
        supernet = sw.elastic(Logits(model), choices, example=example)
        report = check_model(supernet, samples=4)
        check_supernet(supernet, example, samples=2)
    assert report.parameters[1] < report.parameters[0]
