"""ChestNet: feature maps of any backbone, pooled, through the small head that serving knows."""

import torch
from torch import nn

HIDDEN = 128


class ChestNet(nn.Module):
    """``backbone`` (n, 3, h, w) -> features (n, K, h', w') -> GAP -> Dense 128 -> ReLU -> Dense."""

    def __init__(self, backbone: nn.Module, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(channels, HIDDEN)
        self.dense2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.backbone(x).mean(dim=(2, 3))
        hidden = torch.relu(self.dense1(self.dropout(pooled)))
        logits: torch.Tensor = self.dense2(self.dropout(hidden))
        return logits

    @property
    def head(self) -> list[nn.Parameter]:
        """The parameters of the two dense layers."""
        return [*self.dense1.parameters(), *self.dense2.parameters()]
