"""Answers as an evaluation gives them: what is shown is tested without judging a log."""

import math
from typing import Any, TypeVar

import msgspec
from scipy.special import ndtri

from replay.evaluation.answer import Answer
from replay.evaluation.result import ActionOverlap, Analysis, Bin, Difference, Estimated, Finding, How, Segment, Verdict

START_MS = 1_761_955_200_000
DAY_MS = 86_400_000
Struct = TypeVar("Struct", bound=msgspec.Struct)
EVIL = "</script></style><img src=x onerror=alert(1)>{{ 7 * 7 }}'\"&amp;"


def reliable() -> Answer:
    """A target that is shown to be better, on two weeks of a shop."""
    rows, value, spread = 184_320, 0.05714, 0.00188
    reasons: list[str] = []
    return Answer(
        verdict=Verdict(
            level="reliable",
            sentence="reliable: effective sample size 61,204 of 184,320; no check of the log found a fault",
            reasons=reasons,
        ),
        target="front@12-0a1b2c3d",
        rows=rows,
        ips=0.05731,
        ips_interval=(0.05493, 0.05969),
        snips=value,
        snips_interval=(value - spread, value + spread),
        value_logged=0.04862,
        value_logged_interval=(0.04764, 0.0496),
        ess=61_204.4,
        effective_positives=3_310.8,
        max_weight=18.42,
        mean_weight=1.0021,
        left_out={"conflicting": 12, "expired": 1_204, "not_activated": 3_391, "repeats": 3},
        learned=0,
        headline="dr",
        estimates=[
            _estimated("ips", "Horvitz and Thompson 1952; Dudik, Langford, Li 2011, section 2.1", 0.05731, 0.00238),
            _estimated("snips", "Swaminathan and Joachims 2015, eq. 8", value, spread),
            _estimated("dr", "Dudik et al. 2011, eq. 1", 0.05688, 0.00149),
            _estimated("sndr", "Thomas and Brunskill 2016, section 4", 0.05684, 0.00147),
            _estimated("switch-dr", "Wang et al. 2017, eq. 7", 0.05651, 0.00122),
            _estimated("dm", "Beygelzimer and Langford 2009; Dudik et al. 2011, eq. 2", 0.05402, 0.0004),
        ],
        difference=Difference(
            against="logged",
            base=0.04862,
            value=0.00826,
            low=0.00681,
            high=0.00971,
            interval="delta, paired",
            shows=True,
            days_more=None,
            assumption="",
        ),
        over_time=_analyses(rows, 0.05688),
        weights=_bins(rows),
        overlap=[
            ActionOverlap(
                action=name,
                rows=round(rows * logged),
                logged=logged,
                target=target,
                reward=reward,
            )
            for name, logged, target, reward in (
                ("walking boots", 0.31, 0.42, 0.0603),
                ("wool hat", 0.22, 0.08, 0.0301),
                ("rain jacket", 0.18, 0.29, 0.0588),
                ("silk scarf", 0.15, 0.12, 0.0492),
                ("umbrella", 0.09, 0.08, 0.0467),
                ("sun glasses", 0.05, 0.01, 0.0211),
            )
        ],
        segments=[
            _segment("country", name, part, at, 0.0045 / math.sqrt(part), rows)
            for name, part, at in (("France", 0.46, 0.0581), ("Germany", 0.31, 0.0569), ("Spain", 0.18, 0.0544))
        ]
        + [_segment("country", "Malta", 0.004, 0.071, 0.0612, rows, "not reliable")],
        statistics={
            "variance_ess": 12_008.3,
            "whole_pmf_ess": 60_911.0,
            "heavy_mass": 0.0,
            "pareto_k": 0.312,
            "largest_weight_share": 0.0001,
            "mean_weight": 1.0021,
        },
        health=[
            Finding(
                name="mean_weight",
                value=1.0021,
                expected=1.0,
                p_value=0.81,
                wrong=False,
                says="the mean weight is 1 but for chance",
            ),
            Finding(
                name="draws_against_pmf",
                value=0.0021,
                expected=None,
                p_value=0.64,
                wrong=False,
                says="the actions were drawn as their probabilities say",
            ),
            Finding(
                name="deterministic",
                value=0.0,
                expected=0.0,
                p_value=None,
                wrong=False,
                says="no decision was taken with probability 1",
            ),
        ],
        how=How(
            command="bowerbird replay evaluate archive --target front@12-0a1b2c3d --policy front --resamples 10000",
            bowerbird="0.9.0",
            log="archive",
            format="bowerbird",
            estimand="The average reward per decision over the log's period",
            model="vw --cb_explore_adf, cross-fitted by time in 5 folds",
            resamples=10_000,
            digest="9f2c5c1f0f6d0f8f7c8f5f0c1d2e3b4a",
        ),
    )


def open_question() -> Answer:
    """No difference shows yet, and the numbers want care."""
    return changed(
        reliable(),
        verdict=Verdict(
            level="use with care",
            sentence="use with care: 41 effective positives, and the interval may be too narrow",
            reasons=[
                "41 effective positives, and the interval may be too narrow",
                "the target gives 3 % of its choices to actions that were never logged",
            ],
        ),
        rows=9_871,
        headline="snips",
        difference=Difference(
            against="logged",
            base=0.0486,
            value=0.0031,
            low=-0.0042,
            high=0.0104,
            interval="delta, paired",
            shows=False,
            days_more=17.4,
            assumption="the difference stays as large as it is now, and as many decisions a day are logged",
        ),
        estimates=[
            _estimated("ips", "Dudik, Langford, Li 2011, section 2.1", 0.0552, 0.0121),
            _estimated("snips", "Swaminathan and Joachims 2015, eq. 8", 0.0517, 0.0072),
        ],
        health=[
            *reliable().health,
            Finding(
                name="reward_drift",
                value=0.0131,
                expected=0.0,
                p_value=0.0021,
                wrong=True,
                says="rewards of the second half are higher than those of the first: 0.0551 against 0.042",
            ),
        ],
        how=msgspec.structs.replace(reliable().how, resamples=0, model=None),
    )


def not_reliable() -> Answer:
    """Nearly nothing is known: one row carries most of the weight."""
    return changed(
        reliable(),
        verdict=Verdict(
            level="not reliable",
            sentence="not reliable: effective sample size 12 of 10,000, one row carries 71 % of the weight",
            reasons=[
                "effective sample size 12 of 10,000",
                "one row carries 71 % of the weight",
                "the mean weight is 1.31, expected 1: the propensities are wrong",
                "the target has learned from 2,500 of these rows",
            ],
        ),
        target="new-ranker",
        rows=10_000,
        learned=2_500,
        headline="ips",
        ips=0.131,
        ips_interval=(0.004, None),
        ess=12.1,
        effective_positives=1.9,
        max_weight=9_301.0,
        mean_weight=1.31,
        statistics={**reliable().statistics, "mean_weight": 1.31, "pareto_k": 1.4},
        estimates=[
            Estimated(estimator="ips", reference="Li et al. 2011", value=0.131, low=0.004, high=None, interval="delta"),
            Estimated(estimator="snips", reference="S. and J. 2015", value=0.1, low=0.0, high=0.91, interval="delta"),
            Estimated(estimator="dr", reference="Dudik et al. 2011", value=None, low=None, high=None, interval="delta"),
        ],
        difference=Difference(
            against="logged",
            base=0.0486,
            value=0.0824,
            low=-0.05,
            high=None,
            interval="delta, paired",
            shows=False,
            days_more=None,
            assumption="",
        ),
        health=[
            *reliable().health[1:],
            Finding(
                name="mean_weight",
                value=1.31,
                expected=1.0,
                p_value=0.0000002,
                wrong=True,
                says="the mean weight is not 1: the logged propensities are not those of the draws",
            ),
        ],
        overlap=[
            ActionOverlap(action="new arrival", rows=0, logged=0.0, target=0.37, reward=None),
            *reliable().overlap,
        ],
    )


def one_row() -> Answer:
    """The smallest log; nearly all is unknown."""
    return Answer(
        verdict=Verdict(level="not reliable", sentence="not reliable: 1 row", reasons=["1 row"]),
        target="uniform",
        rows=1,
        ips=None,
        ips_interval=(None, None),
        snips=None,
        snips_interval=(None, None),
        value_logged=0.0,
        value_logged_interval=(None, None),
        ess=0.0,
        effective_positives=0.0,
        max_weight=0.0,
        mean_weight=0.0,
        left_out={},
        learned=0,
        headline="snips",
        estimates=[Estimated(estimator="snips", reference="", value=None, low=None, high=None, interval="delta")],
        difference=None,
        over_time=[Analysis(time_ms=None, rows=1, value=None, low=None, high=None)],
        weights=[],
        overlap=[],
        segments=[],
        statistics={"pareto_k": None},
        health=[],
        how=How(
            command="bowerbird replay evaluate log.csv --target uniform",
            bowerbird="0.9.0",
            log="log.csv",
            format="open-bandit",
            estimand="the average over the log's period",
            model=None,
            resamples=0,
            digest="00",
        ),
    )


def large() -> Answer:
    """2,000 actions, 300 segments of two kinds, rewards in euros, some below zero, and no time."""
    actions = [
        ActionOverlap(
            action=f"item-{index:04}",
            rows=10 + index % 7,
            logged=(2_000 - index) / 2_001_000,
            target=1 / 2_000,
            reward=None if index % 5 == 0 else -12.5 + index,
        )
        for index in range(2_000)
    ]
    return changed(
        reliable(),
        rows=40_000_000,
        value_logged=1_204.2,
        value_logged_interval=(1_196.1, 1_212.3),
        estimates=[_estimated("ips", "r", 1_150.1, 44.0), _estimated("dr", "r", 1_190.0, 11.2)],
        difference=Difference(
            against="front@11",
            base=1_204.2,
            value=-14.2,
            low=-21.0,
            high=-7.4,
            interval="delta, paired",
            shows=True,
            days_more=None,
            assumption="",
        ),
        overlap=actions,
        segments=[
            _segment(kind, f"{kind} {index}", 0.01 / (1 + index), 1_100 + index, 60.0 + 3 * index, 40_000_000)
            for kind in ("position", "shop")
            for index in range(150)
        ],
        over_time=[
            Analysis(time_ms=None, rows=1_000_000 * k, value=1_190 - 300 / k, low=1_190 - 900 / k, high=1_190 + 900 / k)
            for k in range(1, 41)
        ],
    )


def hostile() -> Answer:
    """Names that want to be markup, a terminal's commands, very long, or written from the right."""
    long = "a-very-long-name-without-any-space-" * 40
    right = "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe\u2069"
    return changed(
        not_reliable(),
        target=EVIL,
        verdict=Verdict(level="not reliable", sentence=EVIL + "\x1b[2J", reasons=[EVIL, long]),
        left_out={EVIL: 3, "\x1b]0;title\x07": 1, long: 2},
        statistics={EVIL: 1.0, "huge": 1.7e308, "tiny": 5e-324, "negative": -1.7e308},
        overlap=[
            ActionOverlap(action=name, rows=1, logged=0.25, target=0.25, reward=None)
            for name in (EVIL, long, right, "", "nul\x00", "\ud800", "$a$b_{c", "[bold red]x[/]", "\u4e2d\u6587")
        ],
        segments=[
            Segment(
                segment=EVIL,
                name=name,
                rows=1,
                value=None,
                low=None,
                high=None,
                interval=EVIL,
                level="not reliable",
                correction=EVIL,
            )
            for name in (EVIL, long, right)
        ],
        health=[Finding(name=EVIL, value=None, expected=None, p_value=None, wrong=True, says=EVIL + long)],
        estimates=[
            Estimated(estimator=EVIL, reference=EVIL, value=1e300, low=-1e300, high=1.7e308, interval=EVIL),
            Estimated(estimator=long, reference=long, value=1e-300, low=0.0, high=1e-299, interval=long),
        ],
        difference=Difference(
            against=EVIL,
            base=None,
            value=1e-9,
            low=-1.0,
            high=1.0,
            interval=EVIL,
            shows=False,
            days_more=1e300,
            assumption=EVIL,
        ),
        over_time=[
            Analysis(time_ms=-(2**62), rows=1, value=0.1, low=None, high=None),
            Analysis(time_ms=2**62, rows=2, value=0.2, low=None, high=3.0),
        ],
        how=How(
            command=f"bowerbird replay evaluate '{EVIL}' {long}",
            bowerbird=EVIL,
            log=EVIL,
            format=EVIL,
            estimand=EVIL,
            model=EVIL,
            resamples=1,
            digest=EVIL,
        ),
    )


ANSWERS = {
    "reliable": reliable,
    "open": open_question,
    "not reliable": not_reliable,
    "one row": one_row,
    "large": large,
    "hostile": hostile,
}


def changed(answer: Struct, **fields: Any) -> Struct:
    return msgspec.structs.replace(answer, **fields)


def _estimated(name: str, reference: str, value: float, spread: float) -> Estimated:
    return Estimated(
        estimator=name,
        reference=reference,
        value=value,
        low=value - spread,
        high=value + spread,
        interval="delta",
        resampled_low=value - 0.97 * spread,
        resampled_high=value + 1.02 * spread,
    )


def _analyses(rows: int, value: float) -> list[Analysis]:
    """60 analyses in two weeks, whose interval narrows as the rows become more."""
    analyses = []
    for analysis in range(1, 61):
        share = analysis / 60
        off = 0.0035 * math.cos(analysis / 3.1) * (1 - share) / math.sqrt(analysis)
        reach = 0.0034 / math.sqrt(share)
        analyses.append(
            Analysis(
                time_ms=START_MS + round(14 * DAY_MS * share),
                rows=round(rows * share),
                value=value + off,
                low=None if analysis == 1 else value + off - reach,
                high=None if analysis == 1 else value + off + reach,
            )
        )
    return analyses


def _bins(rows: int) -> list[Bin]:
    shares = ((0.0, 0.1, 0.18, 0.01), (0.1, 0.3, 0.16, 0.03), (0.3, 1.0, 0.34, 0.21), (1.0, 3.0, 0.27, 0.47))
    rest = ((3.0, 10.0, 0.0491, 0.255), (10.0, 30.0, 0.0009, 0.025))
    return [
        Bin(low=low, high=high, rows=round(rows * of_rows), share=share) for low, high, of_rows, share in shares + rest
    ]


def _segment(
    kind: str, name: str, part: float, value: float, spread: float, rows: int, level: Any = "reliable"
) -> Segment:
    reach = spread * float(ndtri(0.995)) / float(ndtri(0.975))
    return Segment(
        segment=kind,
        name=name,
        rows=round(rows * part),
        value=value,
        low=value - reach,
        high=value + reach,
        interval="delta",
        level=level,
        correction="Bonferroni",
    )
