"""What can be set in each network. What its paper leaves open says so, and which value is taken and why."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from overlap.base.errors import ConfigError

_MOST_PARTS = 64


def _check_dropout(method: str, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ConfigError(f"{method}: dropout = {dropout} must be from 0 to below 1")


@dataclass(frozen=True)
class GemSettings:
    """Nothing can be set in the plain network."""


@dataclass(frozen=True)
class YokooSettings:
    """Set Yokoo et al.'s head: dropout before its linear layer; their code has none."""

    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            ConfigError: it is none.
        """
        _check_dropout("yokoo", self.dropout)


@dataclass(frozen=True)
class SolarSettings:
    """Set SOLAR: after which feature maps, at 1/16 (middle) and 1/32 (last), second-order attention is put."""

    attention: tuple[Literal["middle", "last"], ...] = ("middle", "last")


@dataclass(frozen=True)
class GlamSettings:
    """Set GLAM.

    Args:
        attention: the local branch, the global one, both, or none (the paper's ablation).
        dropout: before the last linear layer; the paper has it and doesn't say how much.
    """

    attention: Literal["all", "local", "global", "none"] = "all"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            ConfigError: it is none.
        """
        _check_dropout("glam", self.dropout)


@dataclass(frozen=True)
class DolgSettings:
    """Set DOLG: whether its local branch starts with atrous convolutions (the published config has it off)."""

    multi_atrous: bool = False


@dataclass(frozen=True)
class TokenSettings:
    """Set Token: its learned queries, attention heads, layers, and one rate for dropout and dropped branches."""

    tokens: int = 4
    heads: int = 8
    encoders: int = 1
    decoders: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers, which may come from a file.

        Raises:
            ConfigError: one is out of its range.
        """
        for name in ("tokens", "heads", "encoders", "decoders"):
            if not 1 <= getattr(self, name) <= _MOST_PARTS:
                raise ConfigError(f"token: {name} = {getattr(self, name)} must be from 1 to {_MOST_PARTS}")
        _check_dropout("token", self.dropout)


@dataclass(frozen=True)
class CiderSettings:
    """Set CiDeR's components and its masks.

    The paper's main text leaves open: the thresholds (here they cut 0 to 1 into equal parts), whether 0.9 is the
    noise's deviation or its variance (deviation; the mean background is 0.336 or 0.343), whether masks share a draw
    (they don't), the background at test time (its expected value, which keeps the training's statistics), what
    carries a gradient through the threshold, and how its context module departs from SKNet (it doesn't here).

    Args:
        enhancement: backbone enhancement.
        context: selective context.
        localisation: attentional localisation, or none (Table 7's ablation).
        pooling: generalised or plain mean.
        whitening: a linear layer, one followed by batch normalisation, or none.
        thresholds: tau_i of equation 3, one a mask, in [0, 1]; what the attention reaches is foreground.
        gate: ``hard`` is equation 3 to the letter: no gradient reaches the attention layer. ``straight_through`` has
            the same values with the gradient of ``soft``. ``soft`` replaces the step by a sigmoid.
        temperature: width of that sigmoid, in units of attention.
        background: what the background is multiplied by in training: clipped normal noise, or one value.
        background_value: that value.
        noise_mean: of the noise before it is clipped to [0, 1].
        noise_deviation: its standard deviation.
        noise: drawn for each mask, or once for all masks of a photo.
        test_background: the background in evaluation; None for its expected value in training.
    """

    enhancement: Literal["none", "eca", "non_local", "gather_excite", "se"] = "se"
    context: Literal["none", "aspp", "sk"] = "sk"
    localisation: Literal["none", "attention"] = "attention"
    pooling: Literal["gem", "gap"] = "gem"
    whitening: Literal["none", "linear", "batch_norm"] = "linear"
    thresholds: tuple[float, ...] = (1 / 3, 2 / 3)
    gate: Literal["hard", "straight_through", "soft"] = "straight_through"
    temperature: float = 0.1
    background: Literal["random", "fixed"] = "random"
    background_value: float = 0.0
    noise_mean: float = 0.1
    noise_deviation: float = 0.9
    noise: Literal["each_mask", "shared"] = "each_mask"
    test_background: float | None = None

    def __post_init__(self) -> None:
        """Check what the types don't.

        Raises:
            ConfigError: a value is out of its range.
        """
        if not self.thresholds or not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ConfigError(f"cider: thresholds = {self.thresholds}; expected one or more numbers from 0 to 1")
        if self.temperature <= 0 or self.noise_deviation <= 0:
            raise ConfigError(
                f"cider: temperature = {self.temperature} and noise_deviation = {self.noise_deviation} must be above 0"
            )


Settings: TypeAlias = (
    GemSettings | YokooSettings | SolarSettings | GlamSettings | DolgSettings | TokenSettings | CiderSettings
)
