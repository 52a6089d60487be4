"""SIGTERM at any moment of a role's work, beside other load."""

import secrets

import pytest

from tests.ends import WITHIN_S, ends


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_role_ends_within_two_seconds() -> None:
    """Fifty ends of each role; the same by hand: ``python -m tests.ends``."""
    found = await ends(times=50, loaded=2, seed=secrets.randbelow(10_000))
    assert len(found) == 200
    assert [end for end in found if end.code != 0 or end.took_s > WITHIN_S] == []
