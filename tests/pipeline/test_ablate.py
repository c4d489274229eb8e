import pytest

from overlap.base.config import load_config
from overlap.base.errors import ConfigError
from overlap.pipeline.ablate import SHIPPED, load_ablation, plan_ablation
from overlap.study.networks.checkpoint import make_settings

GOOD = 'title = "T"\ncolumns = ["A"]\nreference = 0\n[[variants]]\ncells = ["1"]\n[[variants]]\ncells = ["2"]\n'


def config_of(photos, *settings):
    return load_config(photos / "config.toml", ("network.name=cider_small", *settings))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_ablation_is_of_settings_that_cider_has(name, tiny_photos):
    ablation = load_ablation(name)
    trials = plan_ablation(config_of(tiny_photos, "impact.seeds=[0, 1]"), ablation)
    assert len(trials) == 2 * len(ablation.variants)
    assert len({trial.label for trial in trials}) == len(ablation.variants)
    for trial in trials:
        make_settings(trial.network.name, getattr(trial.network, trial.network.name.partition("_")[0]))


def test_the_references_are_the_papers_defaults(tiny_photos):
    for name in SHIPPED:
        ablation = load_ablation(name)
        trial = plan_ablation(config_of(tiny_photos), ablation)[ablation.reference]
        assert make_settings("cider_small", trial.network.cider) == make_settings("cider_small", {})
        assert trial.training.stages == "one"


def test_fine_tuning_has_two_stages_and_the_plain_network_beside_it(tiny_photos):
    trials = plan_ablation(config_of(tiny_photos), load_ablation("finetuning"))
    assert [(trial.network.name, trial.training.stages) for trial in trials] == [
        ("gem_small", "one"),
        ("cider_small", "one"),
        ("cider_small", "two"),
    ]


def test_variants_depart_from_the_configs_own_settings(tiny_photos):
    config = config_of(tiny_photos, "network.cider.gate=soft")
    (trial, *_) = plan_ablation(config, load_ablation("background"))
    assert trial.network.cider == {"gate": "soft", "background": "fixed", "background_value": 0.0}


def test_a_named_release_is_left_out(tiny_photos):
    (tiny_photos / "release").mkdir()
    (tiny_photos / "release" / "removals.csv").write_text("landmark_id\n2\n")
    (trial, *_) = plan_ablation(config_of(tiny_photos, "impact.release=release"), load_ablation("masks"))
    assert (trial.plan.name, trial.plan.without) == ("clean", (2,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("reference = 0", "reference = 2"), r"the table: reference = 2, but there are 2 variants from 0"),
        (GOOD.replace('["2"]', '["2", "3"]'), r"the table: each variant needs 1 cells, one a column"),
        (GOOD.replace("title", "tilte"), r"title: Field required"),
        ("title = ", r"is not a readable TOML file"),
    ],
)
def test_a_wrong_ablation_file_is_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_ablation(str(path))
    path.write_text(GOOD)
    assert load_ablation(str(path)).columns == ("A",)


def test_an_unknown_ablation_is_refused():
    with pytest.raises(ConfigError, match=r"ablation 'table7' is not there; use components, options,"):
        load_ablation("table7")


def test_only_cider_is_ablated(tiny_photos):
    with pytest.raises(ConfigError, match=r"network.name = 'gem_small'; ablations are of cider_BACKBONE"):
        plan_ablation(load_config(tiny_photos / "config.toml", ["network.name=gem_small"]), load_ablation("masks"))


def test_a_setting_that_cider_lacks_is_refused(tiny_photos, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "cider = { colour = 1 }\n")
    with pytest.raises(ConfigError, match=r"network.cider.colour: unknown key"):
        plan_ablation(config_of(tiny_photos), load_ablation(str(path)))
