"""Thirty-two model definitions of torchvision, timm and transformers, with what is asked of each.

The list is fixed: it stood here before any of these models was given to `elastic` or to another library in this
benchmark. Models are built from configurations with random weights; nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import sharewise as sw

__all__ = ["REQUESTS", "Request"]


@dataclass(frozen=True)
class Request:
    """A model and what is asked of it: halves of widths, fewer heads, fewer blocks.

    Args:
        build: the model.
        widths: patterns of layers of which half the width is asked for.
        heads: patterns of attention modules, and their numbers of heads.
        depths: containers of blocks of which half are asked for.
        example: its arguments.
    """

    build: Callable[[], nn.Module]
    widths: tuple[str, ...]
    example: Callable[[], Any]
    heads: tuple[tuple[str, int], ...] = ()
    depths: tuple[str, ...] = ()

    def choices(self, model: nn.Module) -> dict[str, list[Any]]:
        """As `elastic` takes them."""
        found: dict[str, list[Any]] = {}
        for path, module in model.named_modules():
            if any(matches(pattern, path) for pattern in self.widths) and (size := width_of(module)):
                found.setdefault(path, []).append(sw.width([size // 2, size]))
            for pattern, heads in self.heads:
                if matches(pattern, path):
                    found.setdefault(path, []).append(sw.heads([heads // 2, heads]))
        for container in self.depths:
            blocks = len(list(model.get_submodule(container).children()))
            found.setdefault(f"{container}.*", []).append(sw.depth([(blocks + 1) // 2, blocks]))
        return found


def matches(pattern: str, path: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^.]+"), path) is not None


def width_of(module: nn.Module) -> int:
    names = ("out_features", "out_channels", "embedding_dim", "nf")  # the last of GPT-2's own layer
    return next((int(getattr(module, name)) for name in names if hasattr(module, name)), 0)


def image(size: int = 64) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, 3, size, size)


def tokens(vocabulary: int = 99, **more: Any) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"input_ids": torch.randint(0, vocabulary, (2, 12)), **{name: make() for name, make in more.items()}}


def vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: import_module("torchvision.models").get_model(name, weights=None, num_classes=10, **options)


def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: import_module("timm").create_model(name, num_classes=10, **options)


def hugging(kind: str, configuration: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        package = import_module("transformers")
        return getattr(package, kind)(getattr(package, configuration)(**options))  # type: ignore[no-any-return]

    return build


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = {"vocab_size": 99, "max_position_embeddings": 32}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def mask() -> Tensor:
    return torch.ones(2, 12, dtype=torch.long)


REQUESTS: dict[str, Request] = {
    "torchvision resnet18": Request(vision("resnet18"), ("conv1", "layer*.*.conv1"), image(), depths=("layer4",)),
    "torchvision resnet50": Request(vision("resnet50"), ("conv1", "layer*.*.conv1", "layer*.*.conv2"), image()),
    "torchvision vgg11_bn": Request(vision("vgg11_bn"), ("features.*", "classifier.0", "classifier.3"), image()),
    "torchvision mobilenet_v2": Request(vision("mobilenet_v2"), ("features.*.conv.0.0",), image()),
    "torchvision mobilenet_v3_small": Request(vision("mobilenet_v3_small"), ("features.0.0", "classifier.0"), image()),
    "torchvision efficientnet_b0": Request(vision("efficientnet_b0"), ("features.*.*.block.0.0",), image()),
    "torchvision densenet121": Request(vision("densenet121"), ("features.*.*.conv1", "features.*.*.conv2"), image()),
    "torchvision convnext_tiny": Request(vision("convnext_tiny"), ("features.0.0", "features.*.*.block.3"), image()),
    "torchvision vit_b_16": Request(
        vision("vit_b_16", image_size=64), ("conv_proj", "encoder.layers.*.mlp.0"), image(), depths=("encoder.layers",)
    ),
    "torchvision swin_t": Request(vision("swin_t"), ("features.*.*.mlp.0",), image()),
    "torchvision regnet_y_400mf": Request(vision("regnet_y_400mf"), ("stem.0", "trunk_output.*.*.f.a.0"), image()),
    "torchvision shufflenet_v2_x0_5": Request(vision("shufflenet_v2_x0_5"), ("stage*.*.branch2.0",), image()),
    "torchvision googlenet": Request(
        vision("googlenet", aux_logits=False, init_weights=False), ("conv1.conv", "inception*.branch1.conv"), image()
    ),
    "torchvision mnasnet0_5": Request(vision("mnasnet0_5"), ("layers.*.*.layers.0",), image()),
    "torchvision squeezenet1_1": Request(
        vision("squeezenet1_1"), ("features.*.squeeze", "features.*.expand1x1"), image()
    ),
    "timm vit_tiny_patch16_224": Request(
        timm("vit_tiny_patch16_224", img_size=64),
        ("patch_embed.proj", "blocks.*.mlp.fc1"),
        image(),
        depths=("blocks",),
    ),
    "timm deit3_small_patch16_224": Request(
        timm("deit3_small_patch16_224", img_size=64), ("blocks.*.mlp.fc1",), image(), (("blocks.*.attn", 6),)
    ),
    "timm mixer_s32_224": Request(
        timm("mixer_s32_224", img_size=64),
        ("stem.proj", "blocks.*.mlp_tokens.fc1", "blocks.*.mlp_channels.fc1"),
        image(),
        depths=("blocks",),
    ),
    "timm convnext_atto": Request(timm("convnext_atto"), ("stem.0", "stages.*.blocks.*.mlp.fc1"), image()),
    "timm mobilenetv4_conv_small": Request(timm("mobilenetv4_conv_small"), ("blocks.*.*.pw_exp.conv",), image()),
    "timm ghostnet_100": Request(timm("ghostnet_100"), ("conv_stem",), image()),
    "timm resnext50_32x4d": Request(timm("resnext50_32x4d"), ("conv1", "layer*.*.conv1"), image()),
    "timm levit_128s": Request(timm("levit_128s"), ("stages.*.blocks.*.mlp.ln1.linear",), image(224)),
    "transformers bert": Request(
        hugging("BertForSequenceClassification", "BertConfig", **SMALL, **WORDS),
        ("bert.encoder.layer.*.intermediate.dense",),
        tokens(attention_mask=mask),
        (("bert.encoder.layer.*.attention", 4),),
        ("bert.encoder.layer",),
    ),
    "transformers distilbert": Request(
        hugging("DistilBertModel", "DistilBertConfig", dim=32, n_layers=2, n_heads=4, hidden_dim=64, **WORDS),
        ("transformer.layer.*.ffn.lin1",),
        tokens(attention_mask=mask),
        (("transformer.layer.*.attention", 4),),
    ),
    "transformers gpt2": Request(
        hugging("GPT2LMHeadModel", "GPT2Config", vocab_size=99, n_positions=32, n_embd=32, n_layer=2, n_head=4, **ENDS),
        ("transformer.wte", "transformer.h.*.mlp.c_fc"),
        tokens(use_cache=lambda: False),
        depths=("transformer.h",),
    ),
    "transformers llama": Request(
        hugging("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2, **SMALL, **WORDS, **ENDS),
        ("model.embed_tokens", "model.layers.*.mlp.gate_proj"),
        tokens(use_cache=lambda: False),
        (("model.layers.*.self_attn", 4),),
        ("model.layers",),
    ),
    "transformers qwen2": Request(
        hugging("Qwen2ForCausalLM", "Qwen2Config", num_key_value_heads=2, **SMALL, **WORDS, **ENDS),
        ("model.embed_tokens", "model.layers.*.mlp.gate_proj"),
        tokens(use_cache=lambda: False),
        (("model.layers.*.self_attn", 4),),
    ),
    "transformers opt": Request(
        hugging(
            "OPTForCausalLM",
            "OPTConfig",
            hidden_size=32,
            word_embed_proj_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
            **WORDS,
            **ENDS,
        ),
        ("model.decoder.layers.*.fc1",),
        tokens(use_cache=lambda: False),
        (("model.decoder.layers.*.self_attn", 4),),
    ),
    "transformers t5": Request(
        hugging("T5EncoderModel", "T5Config", vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
        ("shared", "encoder.block.*.layer.1.DenseReluDense.wi"),
        tokens(),
    ),
    "transformers vit": Request(
        hugging("ViTForImageClassification", "ViTConfig", image_size=32, patch_size=8, **SMALL),
        ("vit.encoder.layer.*.intermediate.dense", "vit.embeddings.patch_embeddings.projection"),
        image(32),
    ),
    "transformers wav2vec2": Request(
        hugging(
            "Wav2Vec2Model",
            "Wav2Vec2Config",
            **SMALL,
            conv_dim=(16, 16),
            conv_kernel=(10, 3),
            conv_stride=(5, 2),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        ),
        ("feature_extractor.conv_layers.*.conv", "encoder.layers.*.feed_forward.intermediate_dense"),
        lambda: {"input_values": torch.randn(2, 400)},
    ),
}


def example_of(request: Request) -> Any:
    """Its arguments, the same at every call."""
    torch.manual_seed(0)
    return request.example()


def names(words: Sequence[str]) -> list[str]:
    """The requests whose names hold one of some words; all without words."""
    return [name for name in REQUESTS if not words or any(word in name for word in words)]
