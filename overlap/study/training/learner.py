"""The network under training: the descriptor network, and the classifier that only training needs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overlap.base.config import TrainingConfig


class Learner(nn.Module):
    """Map photos and the landmarks they show to a loss.

    The loss is ArcFace (Deng et al. 2019) as pytorch-metric-learning has it, computed in float32 whatever the precision
    of the network; its classifier starts from normal noise.

    Args:
        network: maps RGB photos in 0..1 to unit rows of ``dimensions`` numbers.
        n_landmarks: how many landmarks there are to tell apart.
        seed: of the classifier's start.
    """

    def __init__(
        self, network: nn.Module, *, dimensions: int, n_landmarks: int, settings: TrainingConfig, seed: int
    ) -> None:
        super().__init__()
        from pytorch_metric_learning.losses import ArcFaceLoss

        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            margin_deg = settings.margin_rad * 180 / torch.pi  # the library counts in degrees
            self.loss = ArcFaceLoss(n_landmarks, dimensions, margin=margin_deg, scale=settings.scale)

    def forward(self, photos: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of (B, 3, H, W) photos in 0..1 and their (B,) labels, from 0."""
        vectors = self.network(photos)
        with torch.autocast(photos.device.type, enabled=False):
            loss: Tensor = self.loss(vectors.float(), labels)
        return loss

    @property
    def classifier(self) -> Tensor:
        """Return the (D, landmarks) weights of the classifier."""
        weights: Tensor = self.loss.W
        return weights

    def set_classifier(self, weights: Tensor) -> None:
        """Start from a classifier that was trained before, (D, landmarks)."""
        with torch.no_grad():
            self.classifier.copy_(weights)


def freeze(learner: Learner, prefixes: Sequence[str]) -> None:
    """Keep the parts of the network whose names begin so from learning."""
    for name, weight in learner.network.named_parameters():
        if name.startswith(tuple(prefixes)):
            weight.requires_grad_(False)


def set_training(learner: Learner, *, frozen: Sequence[str], settings: TrainingConfig) -> None:
    """Put the learner in training mode, but for frozen parts, and the trunk's normalisation where it is to stay."""
    learner.train()
    for name, module in learner.network.named_modules():
        fixed = any(f"{name}.".startswith(prefix) for prefix in frozen)
        normalises = settings.norms == "freeze" and name.startswith("trunk") and isinstance(module, nn.BatchNorm2d)
        if fixed or normalises:
            module.eval()
