"""What is wrong with a service, in words for a person on call: what it is, since when, and what to do."""

import time

from bowerbird.status.records import WAITED_MS, PolicyStatus, Status
from records.limits import DAY_S
from stream.config import Config
from stream.kafka.open_transactions import abort_remedy

WATERMARK_LAG_S = 30.0
"""Watermark of a healthy join is a second or two behind now."""
NOT_LEARNED_S = 15.0
"""In addition to the policy's own cadence."""
BACKLOG_MESSAGES = 1000
NEARLY = 0.9


def alarms(config: Config, status: Status) -> list[str]:
    """Return what is wrong now, the cause before what follows from it; an empty list: all is well."""
    sentences = [f"{one.role} stands still: {one.sentence}." for one in status.stopped]
    stopped = {one.role for one in status.stopped}
    sentences += _servers(config, status)
    idle = [each.role for each in status.backlogs if not each.workers and each.role not in stopped]
    sentences += [f"No worker runs the role {role}. Start `bowerbird worker --roles {role}`." for role in idle]
    explained = {*idle, *stopped}
    sentences += [_stranger(config, each.role, name) for each in status.backlogs for name in each.strangers]
    for held in status.transactions:
        place = f"{held.topic}[{held.partition}]"
        sentences.append(
            f"A transaction in {place} is open since offset {held.offset}, so {held.role} reads nothing behind it. "
            + _abort(config, held.topic, held.partition, held.offset)
        )
    sentences += [
        f"Requests have waited for the role {each.role} for more than {WAITED_MS / 1000:.0f} s. Its log says what it"
        " waits for, such as a cut network or a quota of the broker, and `bowerbird check` looks at the servers."
        for each in status.backlogs
        if each.late and each.role not in explained | {held.role for held in status.transactions}
    ]
    if "join" not in explained:
        sentences += _held_back(config, status)
    for policy in status.policies:
        sentences += _policy(config, status, policy, learns="learn" not in explained)
    for backlog in status.backlogs:
        grows = backlog.growth_per_s is not None and backlog.growth_per_s > 0
        if backlog.role not in idle and backlog.messages > BACKLOG_MESSAGES and grows:
            sentences.append(
                f"The role {backlog.role} falls behind: {backlog.messages} messages wait, {backlog.growth_per_s:.0f} "
                f"more each second. Start `bowerbird worker --roles {backlog.role}` on one more machine."
            )
    return sentences


def notes(config: Config, status: Status) -> list[str]:
    """Return what somebody has to know and what is no fault."""
    sentences: list[str] = []
    for policy in status.policies:
        sentences += [symptom.sentence for symptom in policy.symptoms if not symptom.fatal]
        if waits(policy) and policy.closes_ms is not None:
            at = time.strftime("%H:%M:%S", time.gmtime(policy.closes_ms / 1000))
            left = duration((policy.closes_ms - status.now_ms) / 1000)
            sentences.append(
                f"{policy.name} waits for its windows: the first closes in {left}, at {at} UTC, and nothing is learned "
                "before. A shorter window_s, or a stream in close_on, closes it sooner."
            )
        if policy.control is not None:
            does = "draws every action alike" if policy.control == "uniform" else "decides by the weights that it had"
            sentences.append(
                f"{policy.name} is on {policy.control}: it {does}, and learns nothing. "
                f"`bowerbird policy unfreeze {policy.name}` ends it."
            )
    # What is worth nothing changes nothing when it comes late, such as a view after the click that ended its window.
    harmless = {f"late of {stream}" for stream in config.weightless}
    if count := sum(number for what, number in status.dead_letters.items() if what not in harmless):
        sentences.append(
            f"{count} record{'s' if count > 1 else ''} could not be used. `bowerbird dead-letters list` shows them."
        )
    return sentences


def _servers(config: Config, status: Status) -> list[str]:
    sentences: list[str] = []
    said = " ".join(one.sentence for one in status.stopped)
    # An input that is missing is what the join says itself.
    if missing := [name for name in status.missing_topics if f"topic {name}" not in said]:
        several = len(missing) > 1
        sentences.append(
            f"Topic{'s' if several else ''} {', '.join(missing)} {'are' if several else 'is'} missing. Run `bowerbird "
            "topics create`."
        )
    refused = [number for what, number in status.dead_letters.items() if what.startswith("decision_too_large")]
    if refused:
        sentences.append(
            f"{sum(refused)} requests got no decision, since the topic {config.topic('decisions')} takes no message of "
            "its size. `bowerbird check` says which setting to change."
        )
    memory = status.redis_memory
    if memory is not None and memory.used_bytes > NEARLY * memory.most_bytes:
        full = memory.used_bytes >= memory.most_bytes
        sentences.append(
            f"Redis {'is' if full else 'nearly is'} full: {mebibytes(memory.used_bytes)} of "
            f"{mebibytes(memory.most_bytes)}. {'It' if full else 'Beyond that, it'} refuses what the roles write, and "
            "they wait. Raise its maxmemory (`redis-cli CONFIG SET maxmemory BYTES`, and in its settings)."
        )
    return sentences


def mebibytes(count: int) -> str:
    """Say how much memory something is.

    >>> mebibytes(3_500_000)
    '3.3 MiB'
    """
    return f"{count / 2**20:,.1f} MiB"


def _held_back(config: Config, status: Status) -> list[str]:
    late = [one for one in status.watermarks if status.now_ms - one.watermark_ms > WATERMARK_LAG_S * 1000]
    sentences: list[str] = []
    for held_by in sorted({one.held_by for one in late}):
        watermark_ms = min(one.watermark_ms for one in late if one.held_by == held_by)
        transactions = [one.open_transaction for one in late if one.held_by == held_by]
        if (offset := next((each for each in transactions if each is not None), None)) is not None:
            topic, _, number = held_by.rpartition(" ")
            sentences.append(
                f"A transaction in {named(held_by)} is open since offset {offset}, so no window closes that ends after "
                f"it. {_abort(config, topic, int(number), offset)}"
            )
            continue
        if not watermark_ms:
            unread = f"Nothing of {named(held_by)} has been read"
            what = "The join has not read its inputs even once" if held_by == "*" else unread
            since = "so no window closes"
        elif held_by == "*":
            what = f"The join has not been through its inputs for {age(status, watermark_ms)}"
            since = "so no window closes that ends later"
        else:
            what = f"{named(held_by)} is read only up to {age(status, watermark_ms)} ago"
            since = "so no window closes that ends after it"
        sentences.append(
            f"{what}, {since}. If the join's backlog shrinks, wait; if not, run `bowerbird check`, and read the "
            "join's log: a part that stands still says there what to do."
        )
    return sentences


def _stranger(config: Config, role: str, client_id: str) -> str:
    return (
        f"Another program ({client_id}) is a member of the group {config.group(role)}: what it is given, the role "
        f"{role} does not read. End it, or give it a group of its own."
    )


def _abort(config: Config, topic: str, partition: int, offset: int) -> str:
    remedy = abort_remedy(config, (topic, partition), offset)
    return f"{remedy[0].upper()}{remedy[1:]}."


def _policy(config: Config, status: Status, policy: PolicyStatus, learns: bool) -> list[str]:
    sentences: list[str] = []
    if policy.problem:
        sentences.append(f"{policy.name} can't be learned: {policy.problem}.")
    elif learns and stands_still(config, status, policy):
        sentences.append(
            f"{policy.name} does not learn: outcomes have waited for {age(status, policy.waiting_since_ms)}. "
            "`bowerbird check` says why, or the log of the learn role, and what to do."
        )
    sentences += [symptom.sentence for symptom in policy.symptoms if symptom.fatal]
    if (full := policy.fullest) is not None and full.pending > NEARLY * full.max_pending:
        sentences.append(
            f"{full.placement} nearly has too many open windows: {full.pending} of {full.max_pending}; beyond that, "
            "requests get the error overloaded. Find out why windows do not close, or raise max_pending."
        )
    return sentences


def state(config: Config, status: Status, policy: PolicyStatus) -> str:
    """Say in a word or three how a policy is: stopped, held by a control, learning or not, or without work."""
    if policy.problem:
        return "stopped"
    if policy.control is not None:
        return "frozen" if policy.control == "freeze" else "uniform"
    if stands_still(config, status, policy) or any(symptom.fatal for symptom in policy.symptoms):
        return "NOT learning"
    if policy.learnable:
        return "learning"
    return "waits for windows" if waits(policy) else "nothing to learn"


def waits(policy: PolicyStatus) -> bool:
    """Tell whether there is nothing to learn yet, since no window has closed."""
    return not policy.learnable and policy.pending > 0


def stands_still(config: Config, status: Status, policy: PolicyStatus) -> bool:
    """Tell whether outcomes wait to be learned for longer than the policy's cadence explains."""
    if policy.waiting_since_ms is None or policy.control is not None:
        return False
    cadence_s = config.policies[policy.name].publish_ms / 1000
    return (status.now_ms - policy.waiting_since_ms) / 1000 > NOT_LEARNED_S + cadence_s


def named(name: str) -> str:
    """Return an input partition as people write it.

    >>> named("clicks 2")
    'clicks[2]'
    """
    topic, _, number = name.rpartition(" ")
    return f"{topic}[{number}]" if topic else name


def age(status: Status, time_ms: int | None) -> str:
    """Say how long ago a time was."""
    return "never" if time_ms is None else duration((status.now_ms - time_ms) / 1000)


def duration(seconds: float) -> str:
    """Say how long something takes.

    >>> duration(0.4), duration(72), duration(4000), duration(200_000)
    ('0.4 s', '72 s', '67 min', '56 h')
    """
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 4 * DAY_S else f"{seconds / DAY_S:.0f} days"
