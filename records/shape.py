"""How a policy is used: the part of a version that an operator may change while the policy runs."""

import msgspec


class UniformWrapper(msgspec.Struct, frozen=True, tag_field="kind", tag="uniform"):
    """Every action alike; the weights are not asked.

    Attributes
    ----------
    kind
        ``uniform``.
    """


Wrapper = UniformWrapper
"""What shapes the pmf of a policy: one record per kind, tagged by ``kind``."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a policy is used from a version on.

    What a policy *is* (its kind, arguments, salt and placements) never changes under its name, since its weights depend
    on it. Its shape changes by a version that holds the same weights, so a replay goes through it.

    Attributes
    ----------
    learn
        Whether the outcomes from the version's cut on are learned; if not, they are passed over.
    wrappers
        What shapes the pmf before an action is drawn from it, the innermost first.
    """

    learn: bool = True
    wrappers: tuple[Wrapper, ...] = ()


UNSHAPED = Shape()
"""The weights decide, and what comes is learned."""
