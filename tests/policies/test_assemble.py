"""The stack of a policy and its wrappers: what a shape puts around the weights."""

from typing import Any

import msgspec
import pytest

from policies.assemble import _WRAPPERS, assemble, deciding
from policies.controls import FREEZE, SHAPES, UNFREEZE, UNIFORM, Control, in_force
from policies.features import Action
from policies.policy import Policy
from policies.question import Question
from policies.registry import make
from records.errors import StateRefused
from records.shape import UNSHAPED, Shape, UniformWrapper, Wrapper

ACTIONS = [Action("a", {}), Action("b", {}), Action("c", {})]


def weights() -> Policy:
    return make("vw", "--cb_explore_adf --epsilon 0.1")


def spoilt() -> Policy:
    raise StateRefused("policy front", "spoilt weights", "the policy's", "rebuild it")


def test_every_kind_of_wrapper_can_be_assembled() -> None:
    kinds: Any = msgspec.json.schema(list[Wrapper])["$defs"]
    assert {kind.__name__ for kind in _WRAPPERS} == set(kinds)


def test_without_wrappers_the_weights_decide() -> None:
    assert assemble(UNSHAPED, weights).kind == "vw"
    assert assemble(SHAPES[FREEZE], weights).kind == "vw"
    assert deciding(None, weights).kind == "vw"


def test_uniform_decides_also_where_the_weights_cannot_be_loaded() -> None:
    policy = assemble(SHAPES[UNIFORM], spoilt)
    assert policy.predict(Question({}, ACTIONS)) == [1 / 3] * 3
    with pytest.raises(StateRefused, match="spoilt weights"):
        assemble(UNSHAPED, spoilt)


@pytest.mark.parametrize(("control", "acts"), [(FREEZE, FREEZE), (UNIFORM, UNIFORM), (UNFREEZE, None)])
def test_the_control_in_force_is_that_of_the_shape(control: Control, acts: Control | None) -> None:
    assert in_force(SHAPES[control]) == acts
    again = msgspec.json.decode(msgspec.json.encode(SHAPES[control]), type=Shape)
    assert again == SHAPES[control]


def test_a_shape_of_an_unknown_wrapper_is_refused() -> None:
    assert msgspec.json.encode(Shape(wrappers=(UniformWrapper(),))) == b'{"learn":true,"wrappers":[{"kind":"uniform"}]}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"learn":true,"wrappers":[{"kind":"tomorrow"}]}', type=Shape)
