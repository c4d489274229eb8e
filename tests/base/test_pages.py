import pytest
from jinja2 import UndefinedError

from overlap.base.pages import load_template, security_policy


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "pages_of_a_test"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "templates" / "page.jinja").write_text("<b>{{ name | twice }}</b>")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_a_name_is_text_and_a_missing_one_an_error(package):
    template = load_template(package, "page.jinja", twice=lambda text: text * 2)
    assert template.render(name="<i>") == "<b>&lt;i&gt;&lt;i&gt;</b>"
    with pytest.raises(UndefinedError):
        template.render(title="x")


def test_the_policy_pins_style_and_script_and_allows_no_script_where_there_is_none():
    # printf '%s' 'a{}' | openssl dgst -sha256 -binary | base64
    style = "'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='"
    policy = security_policy(images="data:", style="a{}")
    assert policy == f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {style}"
    assert security_policy(images="data:", style="a{}", script="a{}") == f"{policy}; script-src {style}"
