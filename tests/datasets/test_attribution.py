"""Credits are found by id, streamed, and ids stay text."""

import pytest

from overlap.base.errors import DataError
from overlap.datasets.attribution import Attribution, read_attributions

LISTED = (
    "id,url,author,license,title\n"
    '0000123456789012,http://x/a,"Doe, J.",CC BY,"File:a\nb.jpg"\n'
    "12345678901234e5,http://x/b,,,File:b.jpg\n"
    "00000000000000ff,http://x/c,C,CC0,File:c.jpg\n"
)


def test_the_credits_of_some_photos(tmp_path):
    path = tmp_path / "train_attribution.csv"
    path.write_text(LISTED)
    assert read_attributions(path, {"0000123456789012", "12345678901234e5", "ffffffffffffffff"}) == {
        "0000123456789012": Attribution("http://x/a", "Doe, J.", "CC BY", "File:a\nb.jpg"),
        "12345678901234e5": Attribution("http://x/b", "", "", "File:b.jpg"),
    }
    path.write_text("id,url,author,license,title\n0000123456789012,1,2,3,4\n")
    assert read_attributions(path, {"0000123456789012"}) == {"0000123456789012": Attribution("1", "2", "3", "4")}
    assert read_attributions(path, set()) == {}
    assert read_attributions(tmp_path / "no.csv", {"x"}) == {}


@pytest.mark.parametrize("content", ["id,url\na,b\n", LISTED + "x,y\n", ""])
def test_a_file_that_is_none_is_named(tmp_path, content):
    path = tmp_path / "train_attribution.csv"
    path.write_text(content)
    with pytest.raises(
        DataError, match=r"train_attribution\.csv can't be read as CSV with the columns id, url, author"
    ):
        read_attributions(path, {"0000123456789012"})
