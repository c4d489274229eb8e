import pytest

from overlap.base.errors import ConfigError
from overlap.descriptors.guards import parse_guards


@pytest.mark.parametrize(
    ("text", "words", "holding", "breaking"),
    [
        ("L['x'].size()[2] < L['x'].size()[3]", "height < width", (2, 3, 64, 96), (2, 3, 96, 64)),
        ("(L['x'].size()[3] % 32) == 0", "width % 32 == 0", (1, 3, 7, 96), (1, 3, 7, 90)),
        ("L['flat_args'][0].size()[0] != 1", "batch != 1", (2, 3, 9, 9), (1, 3, 9, 9)),
        (
            "1 + (((-1) + L['x'].size()[2]) // 2) >= 8 and 5 <= L['x'].size()[3] <= 9",
            None,
            (1, 3, 15, 9),
            (1, 3, 15, 10),
        ),
        ("not (L['x'].size()[2] == 4 or Max(2, L['x'].size()[3]) == 2)", None, (1, 3, 5, 5), (1, 3, 5, 2)),
        ("L['x'].size()[2]**2 > math.floor(L['x'].size()[3] / 2)", None, (1, 3, 5, 5), (1, 3, 5, 60)),
        ("math.trunc(torch.sym_float(L['x'].size()[2]) * 0.5) ** 2 == 4", None, (1, 3, 5, 5), (1, 3, 6, 5)),
        ("torch._sym_sqrt(L['x'].size()[2]*L['x'].size()[3]) < 9.5", None, (1, 3, 9, 10), (1, 3, 10, 10)),
        ("100 // (L['x'].size()[2] - 5) > 1", None, (1, 3, 6, 6), (1, 3, 5, 5)),
    ],
)
def test_guards_are_computed_and_said_in_words(text, words, holding, breaking):
    (guard,) = parse_guards([text], source="n.pt2")
    assert guard.holds(holding)
    assert not guard.holds(breaking)
    assert words is None or guard.text == words


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('trapped')",
        "L['x'].size()[2] == 4 or __import__('os').mkdir('trapped')",
        "L['x'].size()[2] > 0 if True else exit()",
        "9**9**9**9",
        "L['x'].stride()[2] == 1",
        "L['x'].size()[7] == 1",
        "x > 1",
        "max.__self__.exit()",
        "(",
        "(" * 5000,
        "-" * 100_000 + "1",
        "'a' == 'a'",
        "L['x'].size()[2] == 4\0",
        "",
    ],
)
def test_guards_that_are_more_than_arithmetic_refuse_the_program(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"n\.pt2 is refused: its guard .* is no plain arithmetic on the input's sizes"
    ):
        parse_guards([text], source="n.pt2")
    assert not (tmp_path / "trapped").exists()
