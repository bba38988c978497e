"""A supernet: one network whose forward pass takes the gates of every decision as an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sharewise.errors import ConfigurationError, unknown_name
from sharewise.given import got
from sharewise.space import Architecture, Relaxation, Space, sample
from sharewise.supernet.gate import Gate, Gates, discrete
from sharewise.supernet.own_loop import block, called_in_block, host_rng

__all__ = ["Networks", "Shared", "Supernet", "networks_of"]


class Supernet(nn.Module, ABC):
    """The shared weights of all architectures of a space.

    Gates are an argument of `forward`, never a mode hidden in modules; a supernet owns no architecture parameters, so
    `parameters()` is exactly the shared weights w. A loop of one's own, which knows no gates, calls it without them in
    a block that `sample` or `under` opens, and nowhere else.

    Law, checked by `sharewise.testing.check_supernet`: with the gates of an architecture and in evaluation mode, the
    output equals that of the extracted plain network bit for bit on CPU.
    """

    space: Space
    relaxation: Relaxation

    def __call__(self, inputs: Any, gates: Gates | None = None) -> Any:
        """Outputs under `gates`, or under those of the block that is open.

        Raises:
            ConfigurationError: without gates, outside of a block.
        """
        if gates is None:
            return called_in_block(self, inputs, super().__call__)
        return super().__call__(inputs, gates)

    @contextmanager
    def sample(self, generator: torch.Generator) -> Iterator[Architecture]:
        """A block whose calls run one architecture, drawn uniformly: single-path training in a loop of one's own.

        The block belongs to the thread that opens it, and to this supernet; it may be opened within another one.
        Backward passes may come after it.

        Args:
            generator: on the CPU, source of randomness; its state is all that an exact resume needs.

        Yields:
            The architecture.

        Raises:
            ConfigurationError: for anything else than a generator on the CPU.

        Example:
            >>> import torch
            >>> import sharewise as sw
            >>> supernet = sw.build_supernet(sw.spaces.toy_tied_width(), (4,), 3)
            >>> optimizer = torch.optim.SGD(supernet.parameters(), lr=0.1)
            >>> generator = torch.Generator().manual_seed(0)
            >>> with supernet.sample(generator) as architecture:
            ...     loss = supernet(torch.randn(8, 4)).square().mean()
            >>> loss.backward()
            >>> optimizer.step()
        """
        if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
            raise ConfigurationError(
                f"sample draws by a torch.Generator on the CPU, {got(generator)}: give torch.Generator().manual_seed(0)"
            )
        architecture = sample(self.space, host_rng(generator))
        with self.under(architecture):
            yield architecture

    @contextmanager
    def under(self, chosen: Architecture | str | Mapping[str, Any] | Gates) -> Iterator[None]:
        """A block whose calls run one architecture, or under given gates; see `sample`.

        Args:
            chosen: an architecture in any form that `Space.own` reads, such as `"largest"`; or gates of every decision.

        Raises:
            ConfigurationError: for what is no architecture of the space, or gates that leave a decision out.
        """
        with block(self, self._gates_of(chosen)):
            yield

    def _gates_of(self, chosen: Architecture | str | Mapping[str, Any] | Gates) -> Gates:
        given: Mapping[str, Any] = chosen if isinstance(chosen, Mapping) else {}
        gates = {name: gate for name, gate in given.items() if isinstance(gate, Gate)}
        if not gates:
            return discrete(self.relaxation.encode(self.space.own(chosen)))
        if missing := [decision.name for decision in self.relaxation.decisions if decision.name not in gates]:
            raise ConfigurationError(f"gates of every decision are needed, and there is none of {missing[0]!r}")
        return gates

    @abstractmethod
    def forward(self, inputs: Tensor, gates: Gates) -> Tensor:
        """Outputs of shape `(n, …, outputs)` under `gates`, which hold every decision of the relaxation."""

    @abstractmethod
    def plain(self, architecture: Architecture) -> nn.Module:
        """A new plain network of `architecture` with the same options, its weights not yet inherited.

        Raises:
            ConfigurationError: when it is not of the space (`Space.own`).
        """

    def kinds(self) -> Mapping[str, str]:
        """By decision what it chooses: `kernel`, `depth` or `width` where that is known, in the order of sizes.

        Decisions without an order, such as operations, are absent.
        """
        ordered = {choice.name for choice in self.space.choices if choice.ordered}
        return {d.name: "width" for d in self.relaxation.decisions if d.name in ordered}

    def gathers(self, blocks: Sequence[nn.Module]) -> None:
        """Know that weights are divided among processes: those of a block are in place within its own forward alone.

        Args:
            blocks: modules in it, each of which is called.
        """

    def multiply_accumulates(self, gates: Gates) -> int | None:
        """Of one forward pass of one example, where the network knows a closed form; `None` to have it traced.

        A closed form pays where nearly every draw has a pattern of active options that was not met before.
        """
        return None


class Shared(nn.Module, ABC):
    """A layer that several architectures share, and that becomes a plain layer when one of them is extracted."""

    @property
    def scales_weights(self) -> bool:
        """Whether gates scale weights rather than outputs, so that their gradient costs as much as that of weights."""
        return True

    @abstractmethod
    def inherited(self, gates: Gates) -> dict[str, Tensor]:
        """The state of the plain module that takes this layer's place under the gates of one architecture.

        Raises:
            InheritanceError: when no plain module can.
        """


@dataclass(frozen=True)
class Networks:
    """How the networks of a space are built: the value that a space's folder exports as `NETWORKS`.

    Args:
        options: a frozen dataclass of network options with defaults (`channels`, `cells`, …); its fields become options
            of the command line. They belong to the network, never to an architecture's identity.
        supernet: builds the shared network from the space, the shape of one input, the number of outputs, and options.
        plain: builds a plain network of an architecture from the same arguments.
        input_kinds: which kinds of input the networks take.
    """

    options: type
    supernet: Callable[[Space, Sequence[int], int, Any], Supernet]
    plain: Callable[[Architecture, Sequence[int], int, Any], nn.Module]
    input_kinds: tuple[str, ...]

    def configure(self, values: dict[str, Any]) -> Any:
        """Options from a dictionary; unknown names list the legal ones."""
        legal = tuple(getattr(self.options, "__dataclass_fields__", ()))
        for name in values:
            if name not in legal:
                raise unknown_name("network option", name, legal)
        return self.options(**values)


def networks_of(space: Space) -> Networks:
    """Import the networks of a space.

    Raises:
        ConfigurationError: when the space has none (a space of values only).

    Example:
        >>> from sharewise.spaces import load
        >>> networks_of(load("nasbench201")).input_kinds
        ('image',)
    """
    if space.networks is None:
        raise ConfigurationError(f"space {space.name!r} has no networks; it serves for combinatorics and tables only")
    from importlib import import_module

    networks = import_module(space.networks).NETWORKS if isinstance(space.networks, str) else space.networks
    assert isinstance(networks, Networks)
    return networks
