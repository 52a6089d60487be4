"""SIGTERM at any moment of a role's work, beside other load."""

import secrets

import pytest

from tests.ends import WITHIN_S, ends

TIMES = 3


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_role_ends_within_two_seconds() -> None:
    """A few ends of each role; ``make torture`` and ``python -m tests.ends`` do fifty."""
    found = await ends(times=TIMES, loaded=1, seed=secrets.randbelow(10_000))
    assert len(found) == 4 * TIMES
    assert [end for end in found if end.code != 0 or end.took_s > WITHIN_S] == []
