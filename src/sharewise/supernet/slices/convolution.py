"""Sliced convolutions: nested channels, kernels as centred rings, nested groups."""

from __future__ import annotations

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sharewise.errors import ConfigurationError
from sharewise.space.relaxation import Decision
from sharewise.supernet.gate import Gates
from sharewise.supernet.slices.axis import Mask
from sharewise.supernet.slices.dimension import Dimension, Size, combinations, dimension
from sharewise.supernet.slices.kernels import centre, padding_of, require_nested, rings
from sharewise.supernet.slices.nesting import full_precision, leading
from sharewise.supernet.slices.plane import Applies, Plane
from sharewise.supernet.slices.superposed import Window, superposed_convolution
from sharewise.supernet.supernet import Shared

__all__ = ["SlicedConv2d", "depthwise"]


@final
class SlicedConv2d(Shared):
    """A two-dimensional convolution with searched channels, kernel size and groups.

    Channels are leading slices, a smaller kernel is the centre of a larger one, more groups are smaller blocks on the
    diagonal. Under mixtures the weight is superposed in closed form,

        W_mix[o, i, y, x] = W[o, i, y, x] · mask[o, i] · Σ_{k covers (y, x)} g_k,

    and convolved once. With `transforms`, a smaller kernel is not the bare centre: the centre of the next larger
    kernel, flattened, is multiplied by a learned matrix; these kernels are mixed as weights, and convolved once too.

    Args:
        inputs: channels that are read.
        outputs: channels that are written.
        kernel: size, or a decision of sizes of one parity; height and width are one decision.
        stride: of the convolution.
        dilation: of the convolution.
        padding: of the largest kernel, reduced for smaller ones so that outputs keep size and place; `None` keeps the
            resolution of a convolution of stride 1 with odd kernels.
        groups: number of groups, or a decision of numbers of which each divides the larger ones; channels are then
            fixed, unless `group_size` says how groups grow with them.
        group_size: input channels per group, which fixes the size of a group and lets their number follow the channels;
            1 for a depthwise convolution. Inputs and outputs must then be searched together.
        bias: whether to add one.
        transforms: learn a matrix per step between kernel sizes (initially the identity, shared by all channels).
        applies: which of its dimensions the layer scales; see `SlicedLinear`. A grouped layer reads and writes the same
            dimension and usually leaves it to the next reader: `()`.
        published: the form of TangleNAS: inputs and outputs are scaled; see `SlicedLinear`.

    Raises:
        ConfigurationError: for kernels that do not nest about a centre, groups that do not divide channels, or a
            padding that is too small for the smaller kernels.

    Example:
        >>> from sharewise.supernet import Gate
        >>> layer = SlicedConv2d(1, 1, Decision("kernel", (1, 3)), bias=False)
        >>> layer.weight.data.fill_(1.0).shape
        torch.Size([1, 1, 3, 3])
        >>> gates = {"kernel": Gate(torch.tensor([0.75, 0.25]), (0, 1))}
        >>> layer(torch.ones(1, 1, 1, 1), gates).item(), layer(torch.ones(1, 1, 3, 3), gates)[0, 0, 1, 1].item()
        (1.0, 3.0)

    References:
        D. Stamoulis et al., *Single-Path NAS*, 2019 (arXiv 1904.02877): one kernel, centre crops. H. Cai et al.,
        *Once-for-All*, ICLR 2020 (arXiv 1908.09791): learned transforms. R. Sukthanker et al., AutoML 2024 (arXiv
        2312.10440): superposition.

    Deviations:
        See `SlicedLinear`.
    """

    def __init__(
        self,
        inputs: Size,
        outputs: Size,
        kernel: int | Decision,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        groups: int | Decision = 1,
        group_size: int | None = None,
        bias: bool = True,
        transforms: bool = False,
        applies: Applies = ("inputs",),
        published: bool = False,
    ) -> None:
        super().__init__()
        self.plane = Plane(outputs, inputs, applies, published)
        self.kernel = dimension(kernel)
        self.groups = dimension(groups)
        self.group_size = group_size
        self.stride, self.dilation = stride, dilation
        largest = self.kernel.largest
        self.padding = dilation * (largest - 1) // 2 if padding is None else padding
        self._check()
        fewest = min(self.groups.sizes) if group_size is None else self.plane.inputs.largest // group_size
        plain = nn.Conv2d(self.plane.inputs.largest, self.plane.outputs.largest, largest, groups=fewest, bias=bias)
        self.weight, self.bias = plain.weight, plain.bias
        self.rings = Mask(self.kernel.decisions, rings(self.kernel.sizes))
        rows, columns = self.weight.shape[:2] if self.groups.decisions else (1, 1)
        self.blocks = Mask(self.groups.decisions, _blocks(self.groups, rows, columns))
        sizes = sorted(set(self.kernel.sizes), reverse=True) if transforms else [largest]
        self.transforms = nn.ParameterDict({str(size): torch.eye(size * size) for size in sizes[1:]})

    def _check(self) -> None:
        largest, smallest = self.kernel.largest, min(self.kernel.sizes)
        require_nested(self.kernel.sizes)
        if padding_of(self.padding, self.dilation, largest, smallest) < 0:
            raise ConfigurationError(
                f"padding {self.padding} of the kernel of {largest} leaves less than none for that of {smallest}; it "
                f"must be at least {self.dilation * (largest - smallest) // 2}"
            )
        read, written = self.plane.inputs.dimension, self.plane.outputs.dimension
        if self.group_size is not None:
            _require_groups_of(self.group_size, read, written)
        elif max(self.groups.sizes) > 1:
            _require_groups(self.groups.sizes, read, written)

    def _active_groups(self, gates: Gates) -> int:
        """Groups that are executed: those of the one active option, else the fewest, whose blocks contain all."""
        if self.group_size is not None:
            return self.plane.inputs.size(gates) // self.group_size
        active = combinations(self.groups.decisions, gates)
        return self.groups.sizes[active[0]] if len(active) == 1 else min(self.groups.sizes)

    def _channels(self, gates: Gates) -> Tensor:
        """The weight of the active channels and groups, with the largest kernel."""
        rows, columns = self.plane.size(gates)
        if self.group_size is not None:
            return leading(self.weight, rows)
        groups = self._active_groups(gates)
        finer = groups // min(self.groups.sizes)
        if finer == 1:
            return leading(leading(self.weight, rows), columns // groups, 1)
        # (coarse, finer, rows of a group, finer, columns of a group, k, k): the diagonal of `finer` pairs.
        per_row, per_column = rows // groups, self.weight.shape[1] // finer
        blocks = torch.unflatten(torch.unflatten(self.weight, 1, (finer, per_column)), 0, (-1, finer, per_row))
        diagonal = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1)
        return diagonal.flatten(0, 2)

    def _transformed(self, weight: Tensor, size: int) -> Tensor:
        """The kernel of `size`: through all matrices on the way from the largest."""
        for smaller in sorted(set(self.kernel.sizes), reverse=True)[1:]:
            if smaller < size or not self.transforms:
                break
            flat = centre(weight, smaller).flatten(2)
            # Automatic mixed precision would round the kernel twice.
            with full_precision(weight.device):
                weight = torch.unflatten(flat @ self.transforms[str(smaller)].T, 2, (smaller, smaller))
        return weight

    def _kernels(self, weight: Tensor, gates: Gates) -> tuple[Tensor, Tensor | None]:
        """The weight of the largest active kernel, and by what its positions are scaled, `None` for nothing."""
        size, covered = self.kernel.size(gates), self.rings(gates)
        if self.transforms and self.kernel.decisions and covered is not None:
            return self._mixed_kernels(weight, size, gates), None
        weight = centre(self._transformed(weight, size), size)
        return weight, None if covered is None else centre(covered, size).to(weight.dtype)

    def _mixed_kernels(self, weight: Tensor, size: int, gates: Gates) -> Tensor:
        """The sum of all kernels, each through its matrices."""
        gate = gates[self.kernel.decisions[0].name]
        total: Tensor | None = None
        for index in gate.active:
            own = self.kernel.sizes[index]
            term = gate.weights[index].to(weight.dtype) * self._transformed(weight, own)
            term = F.pad(term, [(size - own) // 2] * 4)
            total = term if total is None else total + term
        assert total is not None
        return total

    def _channel_mask(self, gates: Gates) -> Tensor | None:
        """Shape `(rows or 1, columns or 1)` of the weight of the active groups."""
        if self.group_size is not None:
            return self._grouped_mask(gates, self.group_size)
        mask: Tensor | None = self.plane.mask(gates)
        blocks: Tensor | None = self.blocks(gates)
        if blocks is None:
            return mask
        active = combinations(self.groups.decisions, gates)
        if len(active) == 1:  # its blocks are all that is executed
            blocks = self.blocks.weights(gates).reshape(1, 1)
        return blocks if mask is None else mask * blocks

    def _grouped_mask(self, gates: Gates, group_size: int) -> Tensor | None:
        rows, columns = self.plane.rows(gates), self.plane.columns(gates)
        if columns is None:
            return None if rows is None else rows[:, None]
        groups = self._active_groups(gates)
        columns = columns.view(groups, 1, group_size).expand(-1, self.plane.outputs.size(gates) // groups, -1)
        return columns.flatten(0, 1)  # a group's inputs and outputs belong to one choice, which counts once

    def forward(self, x: Tensor, gates: Gates) -> Tensor:
        """Map `(n, largest active inputs, height, width)` to `(n, largest active outputs, …)`."""
        self.plane.check(x.shape[-3], gates)
        weight, covered = self._kernels(self._channels(gates), gates)
        mask, scale = self._channel_mask(gates), self.plane.rows(gates)
        if mask is not None:
            mask = mask.to(weight.dtype)[:, :, None, None]
            covered = mask if covered is None else mask * covered
        bias = self._bias(gates)
        if bias is not None and scale is not None:
            bias = bias * scale.to(bias.dtype)
        padding = padding_of(self.padding, self.dilation, self.kernel.largest, self.kernel.size(gates))
        window = Window(self.stride, padding, self.dilation, self._active_groups(gates))
        return superposed_convolution(x, weight, covered, bias, window)

    def _bias(self, gates: Gates) -> Tensor | None:
        return leading(self.bias, self.plane.outputs.size(gates))

    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of a plain `nn.Conv2d`: leading channels, the kernel's centre, the blocks of the groups."""
        with torch.no_grad():
            weight = self._transformed(self._channels(gates), self.kernel.size(gates))
            weight = centre(weight, self.kernel.size(gates))
        bias = self._bias(gates)
        return {"weight": weight.detach()} | ({} if bias is None else {"bias": bias.detach()})


def _require_groups_of(size: int, read: Dimension, written: Dimension) -> None:
    """Groups of one size, whose number follows the channels."""
    per_group = written.largest * size // read.largest
    if (
        read.decisions != written.decisions
        or any(channels % size for channels in read.sizes)
        or any(w * size != r * per_group for r, w in zip(read.sizes, written.sizes, strict=True))
    ):
        raise ConfigurationError(
            f"with groups of {size} input channels as many groups are written as read: inputs and outputs need one "
            f"decision and proportional sizes, got {read.sizes} and {written.sizes}"
        )


def _require_groups(numbers: tuple[int, ...], read: Dimension, written: Dimension) -> None:
    """Searched numbers of groups of fixed channels."""
    ascending = sorted(numbers)
    if read.decisions or written.decisions or any(read.largest % g or written.largest % g for g in ascending):
        raise ConfigurationError(
            f"{numbers} groups need fixed channels that they divide, got {read.sizes} and {written.sizes}; where "
            "channels are searched give group_size"
        )
    if any(larger % smaller for smaller, larger in pairwise(ascending)):
        raise ConfigurationError(f"groups nest only if each number divides the larger ones, got {ascending}")


def depthwise(
    channels: Size,
    kernel: int | Decision,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
    transforms: bool = False,
    applies: Applies = (),
    published: bool = False,
) -> SlicedConv2d:
    """A depthwise convolution: one filter per channel; the survival of channels is left to the next reader.

    Args:
        channels: that are read and written.
        kernel: see `SlicedConv2d`.
        stride: of the convolution.
        dilation: of the convolution.
        bias: whether to add one.
        transforms: see `SlicedConv2d`.
        applies: see `SlicedConv2d`.
        published: see `SlicedConv2d`.

    Example:
        >>> depthwise(8, Decision("kernel", (3, 5))).weight.shape
        torch.Size([8, 1, 5, 5])
    """
    return SlicedConv2d(
        channels,
        channels,
        kernel,
        stride=stride,
        dilation=dilation,
        group_size=1,
        bias=bias,
        transforms=transforms,
        applies=applies,
        published=published,
    )


def _blocks(groups: Dimension, rows: int, columns: int) -> Tensor:
    """Which weights of the fewest groups each number of groups keeps: shape `(rows, columns, options)`."""
    fewest = min(groups.sizes)
    numbers = torch.tensor(groups.sizes, device="cpu")
    row, column = torch.arange(rows, device="cpu"), torch.arange(columns, device="cpu")
    position = (row * fewest // rows)[:, None] * columns + column
    total = fewest * columns
    return (row[:, None, None] * numbers // rows) == (position[..., None] * numbers // total)
