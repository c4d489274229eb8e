import inspect

import pytest

from overlap.base import errors
from overlap.base.errors import ArtifactError, CheckError, ConfigError, DataError, OverlapError, ReviewError


@pytest.mark.parametrize("kind", [ConfigError, DataError, ArtifactError, ReviewError])
def test_a_users_mistake_exits_with_2(kind):
    assert issubclass(kind, OverlapError)
    assert kind.exit_code == 2
    assert str(kind("what, where, what next")) == "what, where, what next"


def test_a_failed_check_exits_with_1():
    assert issubclass(CheckError, OverlapError)
    assert CheckError.exit_code == 1


def test_every_error_of_the_tree_is_documented():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) == 6
    assert all(kind.__doc__ for kind in kinds)
