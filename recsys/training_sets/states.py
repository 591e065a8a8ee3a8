"""What a network has learned, as a file of arrays: who only predicts reads it without torch, which takes a second of
CPU and 120 MiB of each process that imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from recsys.lake import replacing

if TYPE_CHECKING:
    from torch import nn

    N = TypeVar("N", bound=nn.Module)
State = Mapping[str, np.ndarray]  # parameters and buffers by their names in the network


def state_of(network: nn.Module) -> State:
    """Of a network; the arrays are its own memory where it is on the CPU."""
    return {name: np.asarray(values.detach().cpu().numpy(), order="C") for name, values in network.state_dict().items()}


def filled(network: N, state: State) -> N:
    """The network with that state, ready to predict."""
    import torch

    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    return network.eval()


def write(path: Path, state: State) -> None:
    """Into a new file in place of `path` (.npz)."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **state)  # type: ignore[arg-type]


def read(path: Path) -> State:
    """What `write` wrote, or of a bundle from before, torch's own file beside it.

    Raises:
        FileNotFoundError: neither is there.
        Exception: of a torn file, of a dozen kinds.
    """
    before = path.with_suffix(".pt")
    if not path.exists() and before.exists():
        import torch

        state = torch.load(before, weights_only=True, map_location="cpu")
        return {name: values.numpy() for name, values in state.items()}
    with np.load(path) as arrays:
        return dict(arrays)
