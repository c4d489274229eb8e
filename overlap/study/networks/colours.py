"""The colours that a trunk expects."""

import torch
from torch import Tensor, nn

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Colours(nn.Module):
    """Subtract ImageNet's mean colour and divide by its deviation; nothing of it is in a checkpoint."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to what the trunk expects."""
        return (photos - self.mean) / self.deviation
