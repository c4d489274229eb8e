import html
import re

import pytest

from overlap.base.errors import ArtifactError
from overlap.base.grids import Grid
from overlap.report.impact import Figure, ImpactContent, Part, render_page, write_page
from overlap.report.page import Fact

EVIL = "<script>alert(1)</script>"
CONTENT = ImpactContent(
    title=EVIL,
    headline="It rose.",
    figures={"overlapping queries": "+3.0"},
    cautions=("One seed carries no claim.",),
    parts=(
        Part("Effect", "What it is.", (Grid("Table", ("A", "B"), ((EVIL, "+1.0"), ("b", "word"))),)),
        Part("Pictures", "What is seen.", (), (Figure(b"\x89PNG", f"a caption {EVIL}"),)),
    ),
    facts=(Fact("Release", EVIL),),
    settings=EVIL,
)


def test_names_are_text_and_nothing_foreign_is_asked_for():
    page = render_page(CONTENT)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    assert "default-src 'none'; img-src data:; base-uri 'none'" in html.unescape(page)
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", page)


def test_the_page_holds_its_parts_in_order():
    page = render_page(CONTENT)
    places = [
        page.index(text) for text in ("It rose.", "One seed carries", "What it is.", "What is seen.", "Settings</h2>")
    ]
    assert places == sorted(places)
    assert "data:image/png;base64,iVBORw==" in page
    assert "<td>+1.0</td>" in page
    assert '<td class="word">word</td>' in page


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    assert write_page(tmp_path / "index.html", CONTENT).read_text(encoding="utf-8") == render_page(CONTENT)
    with pytest.raises(ArtifactError, match="can't be written"):
        write_page(tmp_path / "absent" / "index.html", CONTENT)
