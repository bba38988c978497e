"""Models of sequences: text, sound, time series."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sharewise as sw

__all__ = ["REQUESTS"]


def tokens(length: int = 7, n: int = 3, vocabulary: int = 20) -> Tensor:
    return torch.randint(0, vocabulary, (n, length))


class RMSNorm(nn.Module):
    """Written by hand, as in many language models."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class GroupedAttention(nn.Module):
    """Fewer keys than queries, rotary positions."""

    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.head_dim, self.repeats = dim // heads, heads // kv_heads
        self.wq, self.wk = nn.Linear(dim, dim, bias=False), nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.wv, self.wo = nn.Linear(dim, kv_heads * self.head_dim, bias=False), nn.Linear(dim, dim, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        t = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
        frequencies = 10000.0 ** (-torch.arange(0, self.head_dim, 2, device=x.device, dtype=x.dtype) / self.head_dim)
        angles = torch.outer(t, frequencies)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q = self.wq(x).view(n, length, -1, self.head_dim).transpose(1, 2)
        k = self.wk(x).view(n, length, -1, self.head_dim).transpose(1, 2)
        v = self.wv(x).view(n, length, -1, self.head_dim).transpose(1, 2)
        k, v = self.rotate(k).repeat_interleave(self.repeats, 1), v.repeat_interleave(self.repeats, 1)
        y = F.scaled_dot_product_attention(self.rotate(q), k, v, is_causal=True)
        return self.wo(y.transpose(1, 2).reshape(n, length, -1))


class GatedMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class LlamaBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(dim), GroupedAttention(dim, 4, 2)
        self.norm2, self.mlp = RMSNorm(dim), GatedMLP(dim, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.layers = nn.ModuleList(LlamaBlock(16) for _ in range(2))
        self.norm, self.head = RMSNorm(16), nn.Linear(16, 20, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Seq2Seq(nn.Module):
    """Torch's own transformer, with masks."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 16), nn.Embedding(20, 16)
        self.transformer = nn.Transformer(16, 2, 2, 2, 32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = torch.triu(torch.full((target.shape[1], target.shape[1]), float("-inf"), device=source.device), 1)
        y = self.transformer(
            self.source(source), self.target(target), tgt_mask=mask.to(self.out.weight.dtype), tgt_is_causal=True
        )
        return self.out(y)


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(20, 12), nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.lstm(self.embed(ids))
        return self.head(y[:, -1])


class GRUForecaster(nn.Module):
    """A series of several variables; the last hidden state predicts the next steps."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.gru, self.leave = nn.Linear(4, 8), nn.GRU(8, 16, 1, batch_first=True), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.gru(F.relu(self.enter(x)))
        return self.leave(h[-1]).view(x.shape[0], 3, 2)


class LSTMTranslator(nn.Module):
    """An encoder whose states start the decoder, with attention between them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.encoder, self.decoder = nn.LSTM(8, 12, batch_first=True), nn.LSTM(8, 12, batch_first=True)
        self.combine, self.out = nn.Linear(24, 12), nn.Linear(12, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.embed(source))
        y, _ = self.decoder(self.embed(target), state)
        attention = torch.softmax(torch.bmm(y, memory.transpose(1, 2)), -1)
        return self.out(torch.tanh(self.combine(torch.cat([y, torch.bmm(attention, memory)], -1))))


class CellByHand(nn.Module):
    """A loop over a cell, from a state of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_size = 10
        self.cell, self.head = nn.GRUCell(4, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


class LSTMByHand(nn.Module):
    """Gates from one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 8
        self.gates, self.head = nn.Linear(4 + 8, 4 * 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.size(0), self.hidden, dtype=x.dtype, device=x.device)
        for step in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([step, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


class TemporalBlock(nn.Module):
    def __init__(self, i: int, o: int, dilation: int) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.pad = 2 * dilation
        self.conv1, self.conv2 = (
            norm(nn.Conv1d(i, o, 3, dilation=dilation)),
            norm(nn.Conv1d(o, o, 3, dilation=dilation)),
        )
        self.skip = nn.Conv1d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(F.pad(x, (self.pad, 0))))
        return F.relu(self.skip(x) + F.relu(self.conv2(F.pad(y, (self.pad, 0)))))


class TemporalConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(TemporalBlock(3, 8, 1), TemporalBlock(8, 8, 2), TemporalBlock(8, 8, 4))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x)[:, :, -1])


class WaveNet(nn.Module):
    """Gated units, with skips that are summed."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, 8, 1)
        self.filters = nn.ModuleList(nn.Conv1d(8, 8, 2, dilation=d, padding=d) for d in (1, 2))
        self.gates = nn.ModuleList(nn.Conv1d(8, 8, 2, dilation=d, padding=d) for d in (1, 2))
        self.residuals = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(2))
        self.skips = nn.ModuleList(nn.Conv1d(8, 12, 1) for _ in range(2))
        self.leave = nn.Sequential(nn.ReLU(), nn.Conv1d(12, 12, 1), nn.ReLU(), nn.Conv1d(12, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        length, x = x.shape[-1], self.enter(x)
        total = 0
        for f, g, residual, skip in zip(self.filters, self.gates, self.residuals, self.skips, strict=True):
            y = torch.tanh(f(x)[..., :length]) * torch.sigmoid(g(x)[..., :length])
            total = total + skip(y)
            x = x + residual(y)
        return self.leave(total)


class GatedConvolution(nn.Module):
    """Gated linear units over a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.convs = nn.ModuleList(nn.Conv1d(8, 16, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(1, 2)
        for conv in self.convs:
            x = (x + F.glu(conv(x), dim=1)) * math.sqrt(0.5)
        return self.head(x.max(dim=2).values)


class TextCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.convs = nn.ModuleList(nn.Conv2d(1, 6, (k, 8)) for k in (2, 3, 4))
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(18, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).unsqueeze(1)
        pooled = [F.relu(conv(x)).squeeze(3).max(2).values for conv in self.convs]
        return self.fc(self.dropout(torch.cat(pooled, 1)))


class AudioTagger(nn.Module):
    """A spectrogram of the wave, convolutions, a recurrence, attention over time."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 16, 16, stride=8)
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.gru = nn.GRU(8 * 8, 12, batch_first=True, bidirectional=True)
        self.score, self.head = nn.Linear(24, 1), nn.Linear(24, 5)

    def forward(self, wave: Tensor) -> Tensor:
        x = torch.log1p(self.filters(wave[:, None]).abs())
        x = self.conv(x[:, None])
        n, c, f, t = x.shape
        y, _ = self.gru(x.permute(0, 3, 1, 2).reshape(n, t, c * f))
        weights = torch.softmax(self.score(y), dim=1)
        return self.head((weights * y).sum(dim=1))


class Conformer(nn.Module):
    """Attention of torch, a gated depthwise convolution, half-step feed-forward layers."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.ff1 = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 32), nn.SiLU(), nn.Linear(32, dim))
        self.norm, self.attention = nn.LayerNorm(dim), nn.MultiheadAttention(dim, 4, batch_first=True)
        self.conv_norm, self.expand = nn.LayerNorm(dim), nn.Conv1d(dim, 2 * dim, 1)
        self.depthwise, self.bn = nn.Conv1d(dim, dim, 5, padding=2, groups=dim), nn.BatchNorm1d(dim)
        self.contract, self.final = nn.Conv1d(dim, dim, 1), nn.LayerNorm(dim)
        self.ff2 = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 32), nn.SiLU(), nn.Linear(32, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.ff1(x)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = F.glu(self.expand(self.conv_norm(x).transpose(1, 2)), dim=1)
        x = x + self.contract(F.silu(self.bn(self.depthwise(y)))).transpose(1, 2)
        return self.final(x + 0.5 * self.ff2(x))


class Speech(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(10, 16)
        self.blocks = nn.ModuleList(Conformer() for _ in range(2))
        self.head = nn.Linear(16, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return F.log_softmax(self.head(x), dim=-1)


class LinearAttention(nn.Module):
    """Attention by feature maps, in einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.embed, self.qkv, self.out = nn.Embedding(20, 16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1).unbind(2)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        context = torch.einsum("nlhd,nlhe->nhde", k, v)
        z = 1 / (torch.einsum("nlhd,nhd->nlh", q, k.sum(1)) + 1e-6)
        y = torch.einsum("nlhd,nhde,nlh->nlhe", q, context, z)
        return self.head(x + self.out(y.reshape(*x.shape[:2], -1)))


class PaddedEncoder(nn.Module):
    """A batch as a dictionary with a mask, outputs as a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.types = nn.Embedding(20, 16), nn.Embedding(7, 16), nn.Embedding(2, 16)
        self.norm = nn.LayerNorm(16)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True) for _ in range(2))
        self.tag, self.pool = nn.Linear(16, 5), nn.Linear(16, 2)

    def forward(self, ids: Tensor, attention_mask: Tensor, types: Tensor | None = None) -> dict[str, Tensor]:
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        if types is not None:
            x = x + self.types(types)
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=attention_mask == 0)
        mask = attention_mask[..., None].to(x.dtype)
        mean = (x * mask).sum(1) / mask.sum(1)
        return {"tags": self.tag(x), "label": self.pool(mean)}


class StateSpace(nn.Module):
    """A diagonal linear recurrence with gates, as in selective state-space models."""

    def __init__(self, dim: int = 8, inner: int = 16, state: int = 4) -> None:
        super().__init__()
        self.norm, self.enter = nn.RMSNorm(dim), nn.Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, 3, padding=2, groups=inner)
        self.to_b, self.to_c, self.to_step = nn.Linear(inner, state), nn.Linear(inner, state), nn.Linear(inner, inner)
        self.log_a, self.d = nn.Parameter(torch.rand(inner, state)), nn.Parameter(torch.ones(inner))
        self.leave, self.head = nn.Linear(inner, dim, bias=False), nn.Linear(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.enter(self.norm(x)).chunk(2, dim=-1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        b, c, step = self.to_b(u), self.to_c(u), F.softplus(self.to_step(u))
        decay = torch.exp(-step.unsqueeze(-1) * self.log_a.exp())
        h = torch.zeros_like(decay[:, 0])
        outputs = []
        for t in range(x.shape[1]):
            h = decay[:, t] * h + (step[:, t] * u[:, t]).unsqueeze(-1) * b[:, t].unsqueeze(1)
            outputs.append((h * c[:, t].unsqueeze(1)).sum(-1))
        y = torch.stack(outputs, 1) + self.d * u
        return self.head(x + self.leave(y * F.silu(gate)))


REQUESTS: dict[str, Callable[[], tuple[nn.Module, dict[str, Any], Any]]] = {
    "llama": lambda: (
        Llama(),
        {"embed": sw.width([8, 16]), "layers.*.attention": sw.heads([2, 4]), "layers.*.mlp": sw.width([16, 32])}
        | {"layers.*": sw.depth([1, 2])},
        tokens(),
    ),
    "sequence to sequence": lambda: (
        Seq2Seq(),
        {
            "transformer.encoder.layers.*.linear1": sw.width([16, 32]),
            "transformer.decoder.layers.*.linear1": sw.width([16, 32]),
        }
        | {"transformer.encoder.layers.*": sw.depth([1, 2])},
        {"source": tokens(), "target": tokens(5)},
    ),
    "bidirectional lstm": lambda: (LSTMClassifier(), {"embed": sw.width([6, 12]), "lstm": sw.width([8, 16])}, tokens()),
    "gru forecaster": lambda: (
        GRUForecaster(),
        {"enter": sw.width([4, 8]), "gru": sw.width([8, 12, 16])},
        torch.randn(3, 6, 4),
    ),
    "lstm translator": lambda: (
        LSTMTranslator(),
        {"embed": sw.width([4, 8]), "encoder": sw.width([6, 12])},
        (tokens(), tokens(5)),
    ),
    "cell by hand": lambda: (CellByHand(), {"cell": sw.width([5, 10])}, torch.randn(3, 5, 4)),
    "lstm by hand": lambda: (LSTMByHand(), {"gates": sw.width([16, 32])}, torch.randn(3, 5, 4)),
    "temporal convolution": lambda: (
        TemporalConvolution(),
        {"blocks.*.conv1": sw.width([4, 8]), "blocks.0.conv2": sw.width([4, 8])},
        torch.randn(2, 3, 12),
    ),
    "wavenet": lambda: (
        WaveNet(),
        {
            "enter": sw.width([4, 8]),
            "filters.*": sw.width([4, 8]),
            "skips.0": sw.width([6, 12]),
            "leave.1": sw.width([6, 12]),
        },
        torch.randn(2, 1, 12),
    ),
    "gated convolution": lambda: (GatedConvolution(), {"embed": sw.width([4, 8])}, tokens()),
    "text cnn": lambda: (TextCNN(), {"convs.*": sw.width([3, 6])}, tokens()),
    "audio tagger": lambda: (AudioTagger(), {"conv.0": sw.width([4, 8]), "gru": sw.width([6, 12])}, torch.randn(2, 80)),
    "conformer": lambda: (
        Speech(),
        {"enter": sw.width([8, 16]), "blocks.*.ff1.1": sw.width([16, 32]), "blocks.*.ff2.1": sw.width([16, 32])}
        | {"blocks.*": sw.depth([1, 2])},
        torch.randn(2, 6, 10),
    ),
    "linear attention": lambda: (LinearAttention(), {"embed": sw.width([8, 16])}, tokens()),
    "padded encoder": lambda: (
        PaddedEncoder(),
        {"words": sw.width([8, 16]), "layers.*.linear1": sw.width([16, 32]), "layers.*": sw.depth([1, 2])},
        {"ids": tokens(), "attention_mask": torch.ones(3, 7, dtype=torch.long)},
    ),
    "state space": lambda: (StateSpace(), {"to_step": sw.width([8, 16])}, torch.randn(2, 5, 8)),
}
