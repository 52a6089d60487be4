"""Policies with a placement of the same name each, for tests and benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from stream.config import PlacementConfig, PolicyConfig

_POLICY = tuple(each.name for each in fields(PolicyConfig))


@dataclass(frozen=True)
class Served:
    """A policy, and the placement for which it decides."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def but(self, **settings: Any) -> "Served":
        """Return it with other settings."""
        known = {name: getattr(self.policy, name) for name in _POLICY}
        known |= {name: getattr(self.placement, name) for name in (each.name for each in fields(PlacementConfig))}
        return served(**known | settings)


def served(kind: str = "uniform", arguments: str = "", **settings: Any) -> Served:
    """Return a policy and its placement by the settings of both."""
    own = {name: settings.pop(name) for name in _POLICY if name in settings}
    return Served(PolicyConfig(kind, arguments, **own), PlacementConfig(**settings))


def tables(policies: Mapping[str, Served]) -> dict[str, Any]:
    """Return both tables of a :class:`stream.config.Config`."""
    return {
        "policies": {name: each.policy for name, each in policies.items()},
        "placements": {name: each.placement for name, each in policies.items()},
    }


def split(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return both tables of a settings file for policies with the settings of their placements among their own."""
    made: dict[str, dict[str, dict[str, Any]]] = {"policies": {}, "placements": {}}
    for name, settings in policies.items():
        made["policies"][name] = {key: value for key, value in settings.items() if key in _POLICY}
        made["placements"][name] = {key: value for key, value in settings.items() if key not in _POLICY}
    return made
