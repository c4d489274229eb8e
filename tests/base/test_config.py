import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.config import SearchConfig, VerifyConfig, fingerprint, load_config
from overlap.base.errors import ConfigError

SMALL = """
store = "runs/photos"
[train]
format = "gldv2"
root = "photos/gldv2"
[[evaluation]]
format = "revisited"
name = "roxford5k"
root = "photos/roxford5k"
"""
DOCUMENTED = """
name = "photos"
store = "runs/photos"
[train]
format = "gldv2"                 # gldv2 | sfm120k | nc_clean | synthetic
root = "../photos/gldv2"
[[evaluation]]
format = "revisited"
name = "roxford5k"
root = "../photos/roxford5k"
[[evaluation]]
format = "revisited"
name = "rparis6k"
root = "../photos/rparis6k"
[descriptors]
kind = "vlad"                    # vlad | exported | network
path = "mobilenet_v2_gem.pt2"  # for exported (.pt2) and network (checkpoint)
[search]
k = 200
[verify]
features = "sift"                # sift | aliked | disk | keynet
weights = "aliked-n16rot.pth"  # a file instead of the public address
threshold = 0.5                  # on the score
[policy]
name = "paper"
[release]
name = "photos-clean"
version = "1.0.0"
out = "data_manifests"
"""


@pytest.fixture
def write(tmp_path):
    def written(text=SMALL, name="run.toml"):
        path = tmp_path / "configs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_the_documented_config_loads_with_exactly_its_keys(write):
    path = write(DOCUMENTED)
    base = path.parent
    config = load_config(path)
    assert config.name == "photos"
    assert config.store == base / "runs/photos"
    assert (config.train.format, config.train.root) == ("gldv2", base.parent / "photos/gldv2")
    assert [(e.format, e.name, e.root) for e in config.evaluation] == [
        ("revisited", "roxford5k", base.parent / "photos/roxford5k"),
        ("revisited", "rparis6k", base.parent / "photos/rparis6k"),
    ]
    assert (config.descriptors.kind, config.descriptors.path) == ("vlad", base / "mobilenet_v2_gem.pt2")
    assert config.search.k == 200
    assert (config.verify.features, config.verify.weights, config.verify.threshold) == (
        "sift",
        base / "aliked-n16rot.pth",
        0.5,
    )
    assert config.policy.name == "paper"
    assert (config.release.name, config.release.version, config.release.out) == (
        "photos-clean",
        "1.0.0",
        base / "data_manifests",
    )


def test_the_defaults_hold_when_only_the_required_keys_are_given(write):
    path = write()
    config = load_config(path)
    assert (config.descriptors.kind, config.descriptors.path) == ("vlad", None)
    assert (config.search.k, config.search.index, config.search.probes) == (200, "exact", "queries")
    assert config.search.copies == 10
    assert (config.verify.features, config.verify.weights, config.verify.threshold) == ("sift", None, None)
    assert config.names.words == ("Oxford", "Paris")
    assert config.review.database is None
    assert config.policy.name == "paper"
    assert (config.release.name, config.release.version) == (None, "1.0.0")
    assert config.release.out == path.parent / "data_manifests"


@pytest.mark.parametrize("key", ["store", "train", "evaluation", "train.format", "train.root", "evaluation.0.name"])
def test_a_required_key_that_is_missing_is_named(write, key):
    lines = SMALL.splitlines()
    section = {"train": slice(2, 5), "evaluation": slice(5, 9)}.get(key)
    if section:
        del lines[section]
    else:
        start = 5 if key.startswith("evaluation") else 0
        del lines[next(i for i, line in enumerate(lines) if i >= start and line.startswith(key.split(".")[-1] + " ="))]
    with pytest.raises(ConfigError, match=rf"run\.toml: {key}: required key is missing$"):
        load_config(write("\n".join(lines)))


@pytest.mark.parametrize("format_", ["gldv2", "sfm120k", "nc_clean", "synthetic", "csv"])
def test_every_format_of_a_training_set_is_taken(write, format_):
    assert load_config(write(), [f"train.format={format_}"]).train.format == format_


@pytest.mark.parametrize("features", ["sift", "aliked", "disk", "keynet"])
def test_every_kind_of_features_is_taken(write, features):
    assert load_config(write(), [f"verify.features={features}"]).verify.features == features


@pytest.mark.parametrize("kind", ["exported", "network"])
def test_descriptors_from_a_file_need_its_path(write, kind):
    with pytest.raises(ConfigError, match=rf'descriptors: kind = "{kind}" needs descriptors.path, the file that holds'):
        load_config(write(), [f"descriptors.kind={kind}"])
    path = write()
    config = load_config(path, [f"descriptors.kind={kind}", "descriptors.path=net.pt2"])
    assert config.descriptors.path == path.parent / "net.pt2"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("search.k=7", lambda config: config.search.k == 7),
        ("name=other", lambda config: config.name == "other"),
        ('name="quoted"', lambda config: config.name == "quoted"),
        ("verify.threshold=0.25", lambda config: config.verify.threshold == 0.25),
        ("verify.threshold=1", lambda config: config.verify.threshold == 1),
        ("descriptors.scales=[0.7, 1.0, 1.4]", lambda config: config.descriptors.scales == (0.7, 1.0, 1.4)),
        ('names.words=["Oxford"]', lambda config: config.names.words == ("Oxford",)),
        ("evaluation.0.name=rparis6k", lambda config: config.evaluation[0].name == "rparis6k"),
        (" search.k = 9", lambda config: config.search.k == 9),
        ("review.database=sqlite:///a=b.db", lambda config: config.review.database == "sqlite:///a=b.db"),
    ],
)
def test_set_takes_toml_literals_and_bare_words(write, override, read):
    assert read(load_config(write(), [override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "release.date=2026-02-30",
            r"release\.date: '2026-02-30' is no day of the calendar; a date like 2026-02-28 is",
        ),
        ('release.date="2026-13-01"', "release.date: '2026-13-01' is no day"),
        ('release.date="0000-01-01"', "release.date: '0000-01-01' is no day"),
        ('release.date=""', "release.date: String should match pattern"),
        ("release.date=2026-02-28T10:00:00", "release.date: String should match pattern"),
        ('release.date="٢٠٢٦-02-28"', "release.date: String should match pattern"),
        ('release.authors=""', "release.authors: Input should be a valid tuple"),
        (
            'release.authors=[""]',
            r"release\.authors\.0: '' is expected to be a line of text with letters; leave it out",
        ),
        ('release.authors=["Ann", "  "]', r"release\.authors\.1: '  ' is expected"),
        ('release.authors=["\u200b"]', r"release\.authors\.0: '\\u200b' is expected"),
        ('release.authors=["Ann\\nBob"]', r"release\.authors\.0: 'Ann\\nBob' is expected"),
        ('release.licence=""', "release.licence: String should match pattern"),
        ('release.licence=" "', "release.licence: String should match pattern"),
        ('release.url=""', r"release\.url: an address that begins with https:// or http:// and holds no blank"),
        ("release.url=example.org", "release.url: an address that"),
        ("release.url=ftp://example.org", "release.url: an address that"),
        ('release.url="https://example.org/a b"', "release.url: an address that"),
        ("release.url=https:example.org", "release.url: an address that begins with https://"),
        ("release.url=https:///example.org", "release.url: an address that begins with https://"),
        ("release.url=https://", "release.url: an address that"),
        ("release.version=01.0.0", "release.version: String should match pattern"),
        ('release.version="١.٠.٠"', "release.version: String should match pattern"),
        (f"release.name={'a' * 101}", "release.name: String should have at most 100 characters"),
        (f"name={'a' * 101}", "name: String should have at most 100 characters"),
        ("evaluation.0.name=TOTAL", "an evaluation set can't be named 'TOTAL', as a row of the release's Table 2 is"),
    ],
)
def test_what_no_metadata_could_hold_is_refused_at_once(write, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(), [override])


def test_metadata_are_taken_as_they_are(write):
    given = ["release.date=2024-02-29", 'release.authors=["Łukasz 山田　太郎", "R2"]', "release.licence=CC-BY-4.0"]
    release = load_config(
        write(), [*given, "release.url=https://münster.example/a?b#c", "release.version=10.0.1"]
    ).release
    assert (release.date, release.authors) == ("2024-02-29", ("Łukasz 山田　太郎", "R2"))
    assert (release.licence, release.url) == ("CC-BY-4.0", "https://münster.example/a?b#c")
    assert load_config(write(SMALL + "\n[release]\ndate = 2026-02-28\n")).release.date == "2026-02-28"


def test_the_last_set_wins(write):
    assert load_config(write(), ["search.k=1", "search.k=2"]).search.k == 2


def test_set_can_name_a_whole_evaluation_set(write):
    path = write()
    config = load_config(path, ['evaluation=[{format="csv", name="mine", root="m"}]'])
    assert [(e.format, e.name, e.root) for e in config.evaluation] == [("csv", "mine", path.parent / "m")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.k", "--set 'search.k': expected key=VALUE, for example --set search.k=100"),
        ("=5", "--set '=5': expected key=VALUE"),
        ("search.k.more=1", None),
        ("store.more=1", "--set 'store.more=1': 'store' is a value, not a section"),
        ("evaluation.1.name=x", "--set 'evaluation.1.name=x': '1' must be a number below 1"),
        ("evaluation.name=x", "--set 'evaluation.name=x': 'name' must be a number below 1"),
        ("evaluation.5=x", "--set 'evaluation.5=x': '5' must be a number below 1"),
        ("evaluation.²=x", "--set 'evaluation.²=x': '²' must be a number below 1"),
        ("search.k=0", "search.k: Input should be greater than or equal to 1 (found 0)"),
        ("search.k=many", "search.k: Input should be a valid integer (found 'many')"),
        ("search.k=1.5", "search.k: Input should be a valid integer (found 1.5)"),
        ("verify.threshold=1.5", "verify.threshold: Input should be less than or equal to 1 (found 1.5)"),
        ("search.depth=1", "search.depth: unknown key (found 1)"),
        ("serach.k=1", "serach: unknown key"),
        ("train.format=tar", "train.format: Input should be 'gldv2', 'sfm120k', 'nc_clean', 'synthetic' or 'csv'"),
        ("release.version=1", "release.version: Input should be a valid string (found 1)"),
        ("release.version=one", "release.version: String should match pattern"),
        ("name=../up", "name: String should match pattern"),
        ("evaluation.0.name=a/b", "evaluation.0.name: String should match pattern"),
        ("evaluation=[]", "evaluation: Tuple should have at least 1 item"),
        ("store=5", "store: Input is not a valid path"),
        ("", "--set '': expected key=VALUE"),
    ],
)
def test_a_wrong_set_is_said(write, override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(write(), [override])
    assert message is None or message in str(caught.value)


def test_an_unknown_key_in_the_file_is_named_with_the_file(write):
    with pytest.raises(ConfigError, match=r"run\.toml: verify: unknown key|run\.toml: verify\.treshold: unknown key"):
        load_config(write(SMALL + "\n[verify]\ntreshold = 0.5\n"))


def test_every_wrong_key_is_said_at_once(write):
    with pytest.raises(ConfigError) as caught:
        load_config(write(SMALL + "\n[search]\nk = 0\ndepth = 1\n[more]\n"))
    for words in ("search.k: ", "search.depth: unknown key", "more: unknown key"):
        assert words in str(caught.value)


def test_two_evaluation_sets_of_one_name_are_refused(write):
    again = '[[evaluation]]\nformat = "revisited"\nname = "roxford5k"\nroot = "other"\n'
    with pytest.raises(ConfigError, match="config: two evaluation sets have the same name: roxford5k, roxford5k"):
        load_config(write(SMALL + again))


def test_a_file_that_is_missing_or_no_toml_is_said(tmp_path, write):
    with pytest.raises(ConfigError, match=r"none\.toml: no such config file; flows/configs/ holds examples"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"run\.toml: not a readable TOML file: "):
        load_config(write("store = "))
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml: not a readable TOML file"):
        load_config(tmp_path / "latin.toml")


def test_relative_paths_are_taken_from_the_configs_folder_and_absolute_ones_stay(write, tmp_path, monkeypatch):
    path = write()
    monkeypatch.chdir(path.parent)
    config = load_config(Path("run.toml"), [f"train.root={tmp_path / 'far'}", "release.out=../out"])
    assert config.store == path.parent / "runs/photos"
    assert config.train.root == tmp_path / "far"
    assert config.release.out == path.parent.parent / "out"
    monkeypatch.chdir(tmp_path)
    assert load_config(Path(os.path.relpath(path)), []).store == path.parent / "runs/photos"


def test_a_config_is_frozen(write):
    config = load_config(write())
    with pytest.raises(ValueError, match="frozen"):
        config.search.k = 5


def test_a_fingerprint_is_stable_and_differs_with_every_value():
    same = fingerprint(SearchConfig(), Path("a"), {"b": 1, "a": (1, 2)})
    assert same == fingerprint(SearchConfig(k=200), Path("a"), {"a": [1, 2], "b": 1})
    assert len(same) == 64
    others = [
        fingerprint(SearchConfig(k=201), Path("a"), {"b": 1, "a": (1, 2)}),
        fingerprint(SearchConfig(), Path("b"), {"b": 1, "a": (1, 2)}),
        fingerprint(SearchConfig(), Path("a"), {"b": 1, "a": (2, 1)}),
        fingerprint(SearchConfig(), Path("a")),
        fingerprint(VerifyConfig(), Path("a"), {"b": 1, "a": (1, 2)}),
        fingerprint("1"),
        fingerprint(1),
        fingerprint("a", "b"),
        fingerprint("ab"),
    ]
    assert len({same, *others}) == 10


def test_a_fingerprint_does_not_depend_on_the_process():
    """The hash was computed by the definition: SHA-256 of the canonical JSON."""
    text = b'[{"copies":10,"device":"auto","index":"exact","k":200,"probes":"queries"},"1.0"]'
    assert fingerprint(SearchConfig(), "1.0") == hashlib.sha256(text).hexdigest()


def test_what_has_no_canonical_form_can_not_enter_a_fingerprint():
    with pytest.raises(TypeError, match="set can't enter a fingerprint"):
        fingerprint({1, 2})


@given(override=st.text() | st.builds("search.k={}".format, st.text()) | st.builds("{}=1".format, st.text()))
def test_any_override_is_taken_or_refused_as_a_config_error(tmp_path_factory, override):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(SMALL)
    try:
        load_config(path, [override])
    except ConfigError:
        return
    assert "=" in override
