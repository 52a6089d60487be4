"""Any arguments of exploration and learning; nothing that reaches files or the network, or changes the mode."""

import pytest

from policies.registry import make
from policies.vw.arguments import parse
from records.errors import WrongConfiguration

ADF = "--cb_explore_adf"


@pytest.mark.parametrize(
    "arguments",
    [
        "-f model", "--final_regressor=m", "-fmodel", "-i model", "--initial_regressor model", "-d data", "--data=d",
        "-p predictions", "--predictions p", "-r raw", "--raw_predictions raw", "--daemon", "--port 1", "--foreground",
        "--pid_file x", "--port_file x", "--num_children 2", "-c", "--cache", "--cache_file x", "-k", "--kill_cache",
        "--passes 2", "--invert_hash x", "--readable_model x", "--audit", "-a", "--extra_metrics x", "--span_server x",
        "--sendto x", "--dictionary x", "--dictionary_path x", "--feature_mask x", "--input_feature_regularizer x",
        "--output_feature_regularizer_text x", "--dump_json_weights_experimental x", "--save_per_pass", "--csv",
        "--json", "--dsjson", "--flatbuffer", "--chain_hash", "-t", "--testonly", "--help", "-h", "--version",
        "--dry_run", "--predict_only_model", "--cbify 3", "--cb_explore 3", "--ccb_explore_adf", "--slates", "--cats 4",
        "--warm_cb 3", "--explore_eval", "--experimental_igl", "--hash strings", "--holdout_period 3", "--nosuch",
        "--large_action_space", "--log_level info", "--log_output stderr", "-P 1", "--id x", "--graph_feedback",
        "data.txt", "-- data.txt", "--", "-", "-q", "-q --softmax", "--epsilon", "--ignore a b", "--softmax=true",
        "--epsilon 0.1 --epsilon 0.2", "-b 0", "-b 40", "-b x", "-l", "--interactions=", "--letter user",
        "--letter u=1", "--letter a=x --letter a=y", "--id_as_feature=1", "--epsilon 'unclosed", "--epsilon -f",
        "-q '--invert_hash'", "--epsilon abc", "--epsilon 2", "--epsilon nan", "-l inf", "--bag -1", "--bag 0",
        "--cover -1", "--cb_type x", "--automl 0", "--rnd -1", "-q u", "--cubic uA", "--bag 1000000",
    ],
)  # fmt: skip
def test_refused(arguments: str) -> None:
    for command in (f"{ADF} {arguments}", f"{arguments} {ADF}"):
        with pytest.raises(WrongConfiguration, match="arguments of a vw policy"):
            make("vw", command).close()


@pytest.mark.parametrize(
    "arguments",
    ["", "--cb_adf", "--epsilon 0.1", f"{ADF} --bag 3 --cover 3", f"{ADF} --loss_function x", f"{ADF} --affix x"],
)  # fmt: skip
def test_what_vowpal_wabbit_refuses_is_a_wrong_configuration_too(arguments: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"--cb_explore_adf is missing|Vowpal Wabbit refuses"):
        make("vw", arguments)


def test_the_command_can_be_read_in_one_way_only() -> None:
    parsed = parse("-quA -q=xB --cb_explore_adf --ignore a --ignore=b -l0.1 --cb_min_cost -1 -b 20 --quiet --hash all")
    assert parsed.command == (
        "--quadratic=uA",
        "--quadratic==xB",
        "--cb_explore_adf",
        "--ignore=a",
        "--ignore=b",
        "--learning_rate=0.1",
        "--cb_min_cost=-1",
        "--bit_precision=20",
        "--ring_size=16",
        "--hash=all",
        "--quiet",
        "--no_stdin",
        "--preserve_performance_counters",
    )


def test_bowerbirds_own_arguments_never_reach_vowpal_wabbit() -> None:
    parsed = parse(f"{ADF} --id_as_feature --letter url=W --letter 'my page=p' -q wA")
    assert parsed.id_as_feature
    assert parsed.letters == {"url": "w", "my page": "p"}
    assert parsed.interacting == {"w", "A"}
    assert not any("letter" in token or "id_as" in token for token in parsed.command)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(WrongConfiguration, match="'bandit', expected one of uniform, vw"):
        make("bandit", "")
    with pytest.raises(WrongConfiguration, match="uniform"):
        make("uniform", ADF)
