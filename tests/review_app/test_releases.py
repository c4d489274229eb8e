"""What the page of releases offers."""

from types import SimpleNamespace

from review_app.api import release_files


def test_a_release_that_is_being_written_is_not_offered(tmp_path):
    for folder in ("photos-clean-1.0.0", ".photos-clean-1.1.0.draft"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train_clean.csv").write_text("", encoding="utf-8")
    room = SimpleNamespace(config=SimpleNamespace(release=SimpleNamespace(out=tmp_path)))
    assert release_files(room) == [tmp_path / "photos-clean-1.0.0" / "train_clean.csv"]
