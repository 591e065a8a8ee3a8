"""Dropout at an eighth of the draws."""

from __future__ import annotations

import torch
from torch import nn


class Dropout(nn.Module):
    """Leaves numbers out with the chance `share`, rounded to a 256th: eight share a draw of 64 bits.

    Torch draws one for each, which took a sixth of the network's training and a twelfth of the towers'.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.left_out = round(256 * share)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.left_out:
            return x
        draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= self.left_out
        return x * (kept * (256 / (256 - self.left_out)))
