"""``bowerbird check``."""

import typer

from bowerbird.commands.shared import DOES_NOT_HOLD, AsJson, ConfigFile, answer, run, say, settings


def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check that everything is as the service needs it, and print a fix for each failure.

    Configuration, retention, broker, topics, Redis, what must never change, and the laws of every policy.

    Example: bowerbird check --config bowerbird.toml
    """
    from bowerbird.check import Finding, findings

    loop_config = settings(config)

    async def look() -> list[Finding]:
        all_findings = []
        async for finding in findings(loop_config):
            all_findings.append(finding)
            if not as_json:
                mark = "ok  " if finding.holds else "FAIL"
                say(f"{mark} {finding.subject}: {finding.found}" + (f" -> {finding.remedy}" if finding.remedy else ""))
        return all_findings

    all_findings = run(loop_config, look)
    holds = all(finding.holds for finding in all_findings)
    if as_json:
        answer({"holds": holds, "findings": [finding.as_json() for finding in all_findings]})
    raise typer.Exit(0 if holds else DOES_NOT_HOLD)
