"""HW-GPT-Bench: language models in the form of GPT-NeoX, of three sizes.

As in `language-model`, and: heads have 64 features each, whatever the embedding, so that their number is the width of
attention; whether linear layers have biases is one more choice. The standard string is that of `language-model`, with
`bias` behind the embedding where there are biases: `768-bias-3x12-4x8-…`.

References:
    R. Sukthanker et al., *HW-GPT-Bench: Hardware-Aware Architecture Benchmark for Language Models*, NeurIPS 2024 (arXiv
    2405.10299); automl/HW-GPT-Bench, `hwgpt/configs_api`, commit 1f43ee8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from sharewise.space import Choice, Codec, ConditionalRelaxation, Option, Space, family
from sharewise.spaces.language_model.space import drawn, encoded
from sharewise.spaces.transformer_layers import choices_of, read

__all__ = ["SIZES", "hw_gpt_bench_l", "hw_gpt_bench_m", "hw_gpt_bench_s"]


def _written(values: Mapping[str, Option]) -> str:
    embedding, _, layers = encoded(values).partition("-")
    return f"{embedding}-bias-{layers}" if values["bias"] else f"{embedding}-{layers}"


def _read(title: str, text: str) -> dict[str, Option]:
    embedding, _, layers = text.partition("-")
    values = read(title, f"{embedding}-{layers.removeprefix('bias-')}")
    return {**values, "bias": layers.startswith("bias-")}


def _sized(
    size: str, embedding: tuple[int, ...], layers: tuple[int, ...], heads: tuple[int, ...]
) -> Callable[..., Space]:
    @family(f"hw-gpt-bench:{size}")
    def space(
        *,
        embedding: tuple[int, ...] = embedding,
        layers: tuple[int, ...] = layers,
        heads: tuple[int, ...] = heads,
        mlp_ratio: tuple[int, ...] = (2, 3, 4),
    ) -> Space:
        """The space of given sizes: choices `layers`, `embedding`, `bias`, and `mlp_ratio_1`, `heads_1`, … by layer.

        Args:
            embedding: numbers of features of every token to choose from.
            layers: numbers of layers to choose from.
            heads: numbers of heads of a fixed size to choose from in every layer.
            mlp_ratio: ratios of hidden features to those of a token to choose from in every layer.

        Returns:
            The same object for the same sizes.
        """
        title = f"hw-gpt-bench:{size}"
        first, second, *others = choices_of(layers, embedding, mlp_ratio, heads)
        return Space(
            name=title,
            choices=(first, second, Choice("bias", (False, True)), *others),
            codec=Codec(_written, partial(_read, title)),
            relax=ConditionalRelaxation,
            networks="sharewise.spaces.hw_gpt_bench.supernet",
            draw=drawn,
            summary=f"language models of {layers[0]} to {layers[-1]} layers in the form of GPT-NeoX (HW-GPT-Bench)",
        )

    return space


hw_gpt_bench_s = _sized("S", (192, 384, 768), (10, 11, 12), (4, 8, 12))
"""HW-GPT-Bench of the size of GPT-2; about 1.9 · 10¹² architectures."""
hw_gpt_bench_m = _sized("M", (256, 512, 1024), (22, 23, 24), (8, 12, 16))
"""Of the size of GPT-2 medium."""
hw_gpt_bench_l = _sized("L", (320, 640, 1280), (34, 35, 36), (8, 16, 20))
"""Of the size of GPT-2 large."""

SIZES: Mapping[str, Callable[..., Space]] = {"S": hw_gpt_bench_s, "M": hw_gpt_bench_m, "L": hw_gpt_bench_l}
