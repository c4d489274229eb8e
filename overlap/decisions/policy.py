"""A removal policy is a TOML file; what of it decides is a `overlap.decisions.rule.Rule`.

The shipped policies lie in ``overlap/decisions/policies/``: ``paper``, ``all-confirmed``, ``strict``, ``automatic``.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from overlap.base.errors import ConfigError
from overlap.base.tables import WHOLE_ORIGINS
from overlap.base.texts import read_toml
from overlap.decisions.rule import Rule

SHIPPED = ("paper", "all-confirmed", "strict", "automatic")


class Policy(BaseModel):
    """Say what confirms a pair and which landmarks confirmed pairs remove.

    ``evidence`` is what confirms a pair: people's votes, or a score that reaches the threshold. ``per_query``: of the
    landmarks that a query has confirmed photos of, the one with ``most``, or ``all``. ``ties`` in that count remove
    ``all`` of the tied landmarks or ``none``. ``text``, ``closure``, ``audit``: whether a landmark goes that was
    confirmed as a whole, and came before people by its name, by its links to a confirmed one, by the audit's draw.
    ``confirmations`` is the number of reviewers it takes; ``unsure_confirms`` counts "unsure" as a yes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    description: str
    evidence: Literal["votes", "scores"]
    per_query: Literal["most", "all"]
    text: bool
    closure: bool = False
    audit: bool = False
    confirmations: Annotated[int, Field(ge=1)] = 1
    ties: Literal["all", "none"] = "all"
    unsure_confirms: bool = False

    @model_validator(mode="after")
    def _names_need_people(self) -> "Policy":
        asked = [name for name in WHOLE_ORIGINS if getattr(self, name)]
        if self.evidence == "scores" and asked:
            raise ValueError(f'{asked[0]} = true needs evidence = "votes": a landmark as a whole has no score')
        return self

    def rule(self, *, reviewers: int, figures: bool) -> Rule:
        """Return what of the policy decides, with the review's own settings.

        Raises:
            ConfigError: it takes more confirmations than reviewers judge an item.
        """
        if self.evidence == "votes" and self.confirmations > reviewers:
            raise ConfigError(
                f"policy {self.name!r} takes {self.confirmations} confirmations and review.reviewers is {reviewers}, "
                f"so that nothing could be confirmed; set review.reviewers to {self.confirmations} or more"
            )
        return Rule(
            evidence=self.evidence,
            confirmations=self.confirmations,
            per_query=self.per_query,
            ties=self.ties,
            whole=frozenset(name for name in WHOLE_ORIGINS if getattr(self, name)),
            unsure_confirms=self.unsure_confirms,
            reviewers=reviewers,
            figures=figures,
        )


def load_policy(name_or_path: str | Path) -> Policy:
    """Read a shipped policy by its name, or a TOML file by its path (anything with a slash, or that ends in .toml).

    Raises:
        ConfigError: there is no such policy, the file is not TOML, or it has an unknown, missing or wrong key.
    """
    text = str(name_or_path)
    file = (
        Path(text)
        if "/" in text or text.endswith(".toml")
        else files("overlap.decisions") / "policies" / f"{text}.toml"
    )
    try:
        return Policy.model_validate(read_toml(file))
    except FileNotFoundError:
        raise ConfigError(
            f"policy {text!r} is not there; use {', '.join(SHIPPED)}, or the path of a TOML file"
        ) from None
    except ValidationError as error:
        raise ConfigError(f"policy {text!r}: " + "; ".join(map(_explained, error.errors()))) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy {text!r} is not a readable TOML file: {error}") from None


def _explained(error: Mapping[str, Any]) -> str:
    key = ".".join(map(str, error["loc"])) or "policy"
    advice = {"extra_forbidden": "unknown key", "missing": "required key is missing"}
    found = "" if error["type"] in ("missing", "value_error") else f" (found {error['input']!r})"
    return f"{key}: {advice.get(error['type'], error['msg'].removeprefix('Value error, '))}{found}"
