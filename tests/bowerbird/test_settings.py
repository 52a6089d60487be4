"""Settings: one file, the environment on top, every error at once and with its place."""

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.settings import WrongSettings, load
from bowerbird.settings.built_in import chosen
from bowerbird.settings.definitions import fields, inside, is_table, known_keys, meanings, paths, unwrapped, variable
from bowerbird.settings.tree import Problem, without_password
from docs.make import settings_page
from records.errors import WrongConfiguration
from records.rule import Reward, StreamReward
from stream.config import Config, PlacementConfig, PolicyConfig
from tests.serving import Served, served, tables

ROOT = Path(__file__).parents[2]
POLICY = '\n[policies.front]\nkind = "uniform"\n[placements.front]\n'


def problems(folder: Path, text: str, **environment: str) -> list[Problem]:
    """Return what is wrong with a file and an environment."""
    file = folder / "bowerbird.toml"
    file.write_text(dedent(text))
    with pytest.raises(WrongSettings) as caught:
        load(file, environment)
    return [problem._replace(source=Path(problem.source).name) for problem in caught.value.problems]


def keys(listed: list[Problem]) -> dict[str, int | None]:
    """Return the line of each key that is wrong."""
    return {problem.key: problem.line for problem in listed}


def test_everything_has_a_default_but_the_policies(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(POLICY)
    assert load(file, {}) == Config(**tables({"front": served()}))


def test_a_full_file(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(
        dedent(
            """
            brokers = "a:1, b:2"
            reply_topics = ["answers"]
            early_s = 60
            [limits]
            max_actions = 20
            [policies.front]
            kind = "vw"
            arguments = "--cb_explore_adf"

            [placements.front]
            window_s = 5
            activate_on = "views"
            [placements.front.reward]
            clip = [0, 10.5]
            close_on = ["purchases"]
            streams.clicks = { weight = 1, aggregate = "max" }
            [placements.front.reward.streams.purchases]
            value = true
            """
        )
    )
    config = load(file, {})
    assert config.limits.max_actions == 20
    assert config.early_s == 60.0
    assert Served(config.policies["front"], config.placements["front"]) == served(
        kind="vw",
        arguments="--cb_explore_adf",
        window_s=5.0,
        activate_on="views",
        reward=Reward(
            clip=(0.0, 10.5),
            close_on=("purchases",),
            streams={
                "clicks": StreamReward(weight=1.0, aggregate="max"),
                "purchases": StreamReward(value=True),
            },
        ),
    )
    assert config.streams == ("clicks", "purchases", "views")


def test_all_errors_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    reported = problems(
        tmp_path,
        """\
        sharts = 3
        shards = "x"
        retention_s = 100000
        early_s = 2024-01-01
        reply_topics = ["*"]
        close_grace_ms = 1.5
        [policies.front]

        [placements.front]
        window_s = 60000
        partition = 4
        [placements.front.reward]
        clip = [1.0, 0.0]
        close_on = ["Purchases"]
        [placements.front.reward.streams.clicks]
        weight = 1.0
        aggregate = "mux"
        value = true
        [placements.Bad_Name.reward]
        clip = [1.0]
        [placements.Bad_Name]
        policy = "other"
        [policies.other]
        """,
        BOWERBIRD_JOIN_TICK_MS="often",
        BOWERBIRD_PLACEMENTS__FRONT__WINDO_S="3",
    )
    assert [(problem.source, problem.line, problem.key) for problem in reported] == [
        ("bowerbird.toml", 1, "sharts"),
        ("bowerbird.toml", 2, "shards"),
        ("bowerbird.toml", 3, "retention_s"),
        ("bowerbird.toml", 4, "early_s"),
        ("bowerbird.toml", 5, "reply_topics"),
        ("bowerbird.toml", 6, "close_grace_ms"),
        ("bowerbird.toml", 11, "placements.front.partition"),
        ("bowerbird.toml", 13, "placements.front.reward.clip"),
        ("bowerbird.toml", 14, "placements.front.reward.close_on"),
        ("bowerbird.toml", 15, "placements.front.reward.streams.clicks"),
        ("bowerbird.toml", 17, "placements.front.reward.streams.clicks.aggregate"),
        ("bowerbird.toml", 19, "placements.Bad_Name"),
        ("bowerbird.toml", 20, "placements.Bad_Name.reward.clip"),
        ("bowerbird.toml", None, "dedup_horizon_s"),
        ("BOWERBIRD_JOIN_TICK_MS", None, "join_tick_ms"),
        ("BOWERBIRD_PLACEMENTS__FRONT__WINDO_S", None, ""),
    ]
    shown = {problem.key: str(problem) for problem in reported}
    assert shown["shards"] == 'bowerbird.toml, line 2: shards: found "x", expected a whole number from 1 to 1024'
    assert "did you mean shards?" in shown["sharts"]
    assert "did you mean BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S?" in shown[""]


CONTRADICTIONS = {
    "dedup_horizon_s": ("dedup_horizon_s = 1000", POLICY + "window_s = 501"),
    "retention_s": ("retention_s = 86500", POLICY + "window_s = 101"),
    "early_s": ("early_s = 43201", POLICY),
    "brokers": ('brokers = "localhost"', POLICY),
    "redis_url": ('redis_url = "localhost:6379"', POLICY),
    "prefix": ('prefix = "a{b}"', POLICY),
    "reply_topics": ('reply_topics = ["re[p-w]*"]', POLICY),
    "metrics_port": ("metrics_port = 65534", POLICY),
    "limits.max_request_bytes": ("limits.max_request_bytes = 2000000", POLICY),
    "limits.max_actions": ("limits.max_actions = 0", POLICY),
    "policies": ("shards = 1", ""),
    "policies.front.kind": ("", '[policies.front]\nkind = "wv"\n[placements.front]'),
    "placements": ("", "[policies.front]"),
    "placements.back": ("", POLICY + "[placements.back]"),
    "placements.back.policy": ("", POLICY + '[placements.back]\npolicy = "bakc"'),
    "policies.front.placements": ("", '[placements.front]\n[policies.front]\nplacements = ["frnt"]'),
    "policies.front": (
        "rewards_partitions = 2",
        POLICY + 'partition = 0\n[placements.back]\npolicy = "front"\npartition = 1',
    ),
    "placements.front.partition": ("rewards_partitions = 2", POLICY + "partition = 2"),
    "placements.front.activate_on": ("", POLICY + 'activate_on = "rewards"'),
    "placements.front.reward.close_on": ("", POLICY + 'reward.close_on = ["a", "a"]'),
    "placements.front.reward.streams.ticks": ("", POLICY + "reward.streams.ticks.weight = 1"),
    "placements.front.reward.streams.check": ("", POLICY + "reward.streams.check.weight = 1"),
    "placements.front.reward.streams.a.b": ("", POLICY + 'reward.streams."a.b".weight = 1'),
    "policies.front.salt": (
        "",
        '[placements.front]\n[policies.front]\nsalt = "same"\n[policies.back]\nsalt = "same"\nplacements = ["front"]',
    ),
    "policies.back.salt": ("", POLICY + '[policies.back]\nsalt = "front"\nplacements = ["front"]'),
    "policies.spare": ("", POLICY + "[policies.spare]"),
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_a_contradiction_names_its_key(key: str, tmp_path: Path) -> None:
    head, tail = CONTRADICTIONS[key]
    (problem,) = problems(tmp_path, f"{head}\n{tail}\n")
    expected = "policies.back.salt" if key == "policies.front.salt" else key
    assert problem.key == expected


def test_a_misspelt_stream_is_refused(tmp_path: Path) -> None:
    text = POLICY + 'reward.close_on = ["{}"]\nreward.streams.clicks.weight = 1\nreward.streams.likes-a.weight = 1\n'
    (problem,) = problems(tmp_path, text.format("click"))
    assert (problem.key, problem.line) == (
        "placements.front.reward.close_on",
        text[: text.index("close_on")].count("\n") + 1,
    )
    assert "found 'click', expected" in str(problem)
    assert "did you mean clicks?" in str(problem)
    for other in ("clicks", "purchases", "unclicks", "clicks2", "likes-b"):
        (tmp_path / "bowerbird.toml").write_text(text.format(other))
        load(tmp_path / "bowerbird.toml", {})
    (tmp_path / "bowerbird.toml").write_text(text.format("click") + "reward.streams.click.weight = 0\n")
    load(tmp_path / "bowerbird.toml", {})


def test_a_misspelt_stream_that_activates_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, POLICY + 'activate_on = "view"\nreward.streams.views.weight = 0\n')
    assert problem.key == "placements.front.activate_on"
    assert "did you mean views?" in str(problem)


def test_a_misspelt_variable_that_is_no_setting(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, POLICY, BOWERBIRD_CONFG="other.toml")
    assert "did you mean BOWERBIRD_CONFIG?" in str(problem)


def test_a_wrong_value_makes_no_contradiction_with_others(tmp_path: Path) -> None:
    reported = problems(tmp_path, 'dedup_horizon_s = "a day"\n[policies.front]\n[placements.front]\nwindow_s = 80000\n')
    assert keys(reported) == {"dedup_horizon_s": 1}


def test_numbers_are_not_texts_nor_bools_nor_infinite(tmp_path: Path) -> None:
    text = 'shards = true\npartitions = "3"\nearly_s = inf\nretention_s = nan\nprefix = 3\n' + POLICY
    assert keys(problems(tmp_path, text)) == {
        "shards": 1,
        "partitions": 2,
        "early_s": 3,
        "retention_s": 4,
        "prefix": 5,
    }


def test_syntax_names_the_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "shards = 1\npartitions = = 3\n")
    assert (problem.line, problem.expected) == (2, "TOML")


def test_syntax_hides_no_error_of_the_environment(tmp_path: Path) -> None:
    reported = problems(
        tmp_path, "shards = = 3\n", BOWERBIRD_SHARDS="0", BOWERBIRD_PLACEMENTS__A__REWARD__CLIP="[2, 1]"
    )
    assert [problem.key for problem in reported] == ["", "placements.a.reward.clip", "shards"]


def test_bytes_that_are_no_utf8_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'prefix = "\xe9"')
    for name in ("latin.toml", "missing.toml"):
        with pytest.raises(WrongSettings, match=name):
            load(tmp_path / name, {})


def test_the_environment_overrides(tmp_path: Path) -> None:
    file = tmp_path / "bowerbird.toml"
    file.write_text(
        "shards = 2\n[policies.p]\nsalt = 'x'\n[placements.front-page]\npolicy = 'p'\n[placements.a--b]\npolicy = 'q'\n"
    )
    config = load(
        file,
        {
            "BOWERBIRD_SHARDS": "3",
            "BOWERBIRD_PREFIX": "007",
            "BOWERBIRD_REPLY_TOPICS": '["a.*", "b"]',
            "BOWERBIRD_PLACEMENTS__FRONT_PAGE__WINDOW_S": "7.5",
            "BOWERBIRD_PLACEMENTS__FRONT_PAGE__REWARD__STREAMS": '{"clicks": {"weight": 1}}',
            "BOWERBIRD_PLACEMENTS__FRONT_PAGE__REWARD__STREAMS__CLICKS__AGGREGATE": "max",
            "BOWERBIRD_PLACEMENTS__A__B__WINDOW_S": "8",
            "BOWERBIRD_PLACEMENTS__A__B__POLICY": "p",
            "BOWERBIRD_POLICIES__P__SALT": "",
            "BOWERBIRD_POLICIES__NEW": '{kind = "uniform"}',
            "BOWERBIRD_PLACEMENTS__NEW__WINDOW_S": "9",
            "BOWERBIRD_CACHE": "/somewhere",
            "BOWERBIRD_SERVICE_HOST": "10.0.0.1",
            "BOWERBIRD_PORT_8080_TCP_ADDR": "10.0.0.1",
            "PATH": "/bin",
        },
    )
    assert (config.shards, config.prefix, config.reply_topics) == (3, "007", ("a.*", "b"))
    clicks = StreamReward(weight=1.0, aggregate="max")
    assert config.policies == {"p": PolicyConfig(), "new": PolicyConfig()}
    assert config.placements == {
        "front-page": PlacementConfig("p", window_s=7.5, reward=Reward(streams={"clicks": clicks})),
        "a--b": PlacementConfig("p", window_s=8.0),
        "new": PlacementConfig(window_s=9.0),
    }


def test_an_error_in_the_environment_names_its_variable(tmp_path: Path) -> None:
    reported = problems(
        tmp_path,
        "[policies.front]\n[placements.front]\nwindow_s = 5\n",
        BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S="-1",
        BOWERBIRD_SHARDS="1\nprefix = 2",
        BOWERBIRD_PARTITIONS="[1]",
        BOWERBIRD_PLACEMENTS__FRONT__REWARD="{clip = [2, 1]}",
        BOWERBIRD_SHRADS="1",
    )
    assert {(problem.source, problem.key) for problem in reported} == {
        ("BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S", "placements.front.window_s"),
        ("BOWERBIRD_SHARDS", "shards"),
        ("BOWERBIRD_PARTITIONS", "partitions"),
        ("BOWERBIRD_PLACEMENTS__FRONT__REWARD", "placements.front.reward.clip"),
        ("BOWERBIRD_SHRADS", ""),
    }


def test_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bowerbird.toml").write_text("shards = 2" + POLICY)
    (tmp_path / "other.toml").write_text("shards = 3" + POLICY)
    (tmp_path / "third.toml").write_text("shards = 4" + POLICY)
    named = {"BOWERBIRD_CONFIG": "other.toml"}
    assert load(None, {}).shards == 2
    assert load(None, named).shards == 3
    assert load(Path("third.toml"), named).shards == 4
    (tmp_path / "bowerbird.toml").unlink()
    assert load(None, {"BOWERBIRD_POLICIES__FRONT": "{}", "BOWERBIRD_PLACEMENTS__FRONT": "{}"}).shards == 1
    with pytest.raises(WrongSettings, match=f"{tmp_path} has no bowerbird.toml: name a file by --config or BOWER"):
        load(None, {})


SECRET = "s3cret"


@pytest.mark.parametrize(
    "text",
    [
        f'redis_url = "redis://u:{SECRET}@host:99999999/0"',
        f'redis_url = "redis//u:{SECRET}@host"',
        f'redis_url = ["redis://u:{SECRET}@host"]',
        f'redis_url = [inf, "redis://u:{SECRET}@host"]',
        f'redis_url = {{ a = "redis://u:{SECRET}@host" }}',
        f'redis_ulr = "redis://u:{SECRET}@host"',
        f'redis_url = "redis://u:{SECRET}/@host',
        f'redis_url = "redis://u:{SECRET}@host{"x" * 5000}"',
    ],
)
def test_a_password_is_never_shown(text: str, tmp_path: Path) -> None:
    assert SECRET not in "".join(map(str, problems(tmp_path, text + POLICY)))
    value = text.partition(" = ")[2].strip('"')
    for variable_name in ("BOWERBIRD_REDIS_URL", "BOWERBIRD_REDIS_ULR"):
        reported = problems(tmp_path, "", **{variable_name: value})
        assert SECRET not in "".join(map(str, reported))


def test_a_password_is_in_no_repr() -> None:
    assert SECRET not in repr(Config(redis_url=f"redis://u:{SECRET}@host"))
    assert without_password("redis://a:b@c@host/0") == "redis://***@host/0"


@given(
    st.sampled_from([("placements", "window_s"), ("policies", "kind"), ("placements", "reward")]),
    st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
)
def test_law_every_name_is_reached_by_its_variable(setting: tuple[str, str], name: str) -> None:
    table, key = setting
    path = (table, name, key)
    rest = variable(path).removeprefix("BOWERBIRD_")
    tree: dict[str, object] = {table: {name: {}}}
    assert path in list(paths(Config, rest, tree))


@given(st.text(max_size=30))
def test_law_no_file_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text)
    with pytest.raises(WrongSettings):
        load(file, {})


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=4)).map(
        lambda value: "" if value is None else value
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "shards",
                    "policies",
                    "front",
                    "reward",
                    "streams",
                    "clip",
                    "close_on",
                    "weight",
                    "clicks",
                    "limits",
                    "window_s",
                    "value",
                    "x",
                ]
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(list(known_keys(Config))), TREES, max_size=6))
def test_law_whatever_stands_there_is_settings_or_problems(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    import tomli_w

    file = tmp_path_factory.getbasetemp() / "tree.toml"
    file.write_text(tomli_w.dumps(tree))
    try:
        config = load(file, {})
    except WrongSettings as wrong:
        complete = [bool(problem.expected and problem.found) for problem in wrong.problems]
    else:
        complete = [bool(config.policies)]
    assert complete
    assert all(complete)


def test_every_setting_has_a_meaning() -> None:
    def walk(record: type) -> None:
        assert set(fields(record)) <= set(meanings(record)), record
        for name, annotation in fields(record).items():
            assert meanings(record)[name]
            if is_table(annotation):
                bare, _, _ = unwrapped(annotation)
                below = inside(annotation, "any") if bare is not type(bare) and not known_keys(annotation) else bare
                walk(unwrapped(below)[0])

    walk(Config)


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == settings_page(), "run: python -m docs.make"


def test_the_example_on_the_page_is_valid(tmp_path: Path) -> None:
    example = settings_page().split("```toml\n")[1].split("```")[0]
    (tmp_path / "bowerbird.toml").write_text(example)
    assert load(tmp_path / "bowerbird.toml", {}).streams == ("clicks", "purchases")


def test_a_file_that_the_variable_names_and_that_is_gone_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `bowerbird up` has ended: the terminal still has its export."""
    monkeypatch.setenv("BOWERBIRD_CONFIG", str(tmp_path / "gone.toml"))
    names = "BOWERBIRD_CONFIG names it: unset that variable, or let it name another file"
    with pytest.raises(WrongSettings, match=names):
        load()
    with pytest.raises(WrongConfiguration, match=names):
        chosen(None, None, os.environ)
    with pytest.raises(WrongSettings, match=names):
        load(None, {"BOWERBIRD_CONFIG": str(tmp_path / "other.toml")})
