"""The demo from its first to its last minute."""

import asyncio
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

import orjson
from rich.console import Console

from bowerbird.demo import real_log
from bowerbird.demo.archived import LOOK_EVERY_S, archived
from bowerbird.demo.figures import Archived, DecisionProof, Figures, Learner, Live, Proof, RealLog
from bowerbird.demo.live import BIN, POLICY, LiveWorld
from bowerbird.demo.plot import draw
from bowerbird.demo.show import Show, per_thousand, summary, worth
from bowerbird.demo.watch import Watch
from bowerbird.demo.world import World
from bowerbird.settings import load
from bowerbird.supervisor import Supervisor
from bowerbird.verification import verify, verify_decision
from embedded.kafka import SHORT_SESSIONS
from embedded.servers import Servers, servers
from records.errors import BowerbirdError, WrongConfiguration
from stream.config import Config, identity_in
from stream.kafka import topics
from stream.kafka.connection import Connection, array

LOGGED = "men"
"""The policy that learns from the real log."""
READY_WITHIN_S = 60.0
SETTLE_WITHIN_S = 60.0
MESSAGE_DECISIONS = 100
KILL_AT = 0.25
ARCHIVE_S = 4.0
"""A file of the archive is closed after so long, which keeps the wait for the last one short."""
VISITS, VISITS_A_SECOND = 7000, 200.0
QUICK_ROWS, QUICK_VISITS = 2000, 4000

SERVERS, PART_1, PART_2, PART_3, PART_4 = "Servers", "1 A real log", "2 A live world", "3 The learner", "4 Proof"
PART_5 = "5 The archive"


def play(seed: int, json_file: Path | None, plot_file: Path, folder: Path | None, quick: bool) -> int:
    """Run the demo and return its exit code."""
    console = Console(highlight=False)
    began_s = time.monotonic()
    with ExitStack() as stack:
        place = _place(folder, stack)
        console.print("Starting Apache Kafka and Redis on this machine …")
        running = stack.enter_context(servers(folder and place, properties=SHORT_SESSIONS))
        log = place / "roles.log"
        file = _write_settings(place, running)
        try:
            with log.open("ab") as stderr, _logged_to(log), Show(console, seed) as show:
                config = load(file, {})
                environment = {name: value for name, value in os.environ.items() if not name.startswith("BOWERBIRD_")}
                supervisor = Supervisor(config, config_file=file, environment=environment, stderr=stderr)
                figures = asyncio.run(_Demo(show, config, supervisor, seed, quick).run())
        except BowerbirdError:
            console.print("[red]The demo failed. The end of the roles' log:[/]")
            console.print("\n".join(log.read_text(errors="replace").splitlines()[-15:]), markup=False)
            raise
    figures.seconds = round(time.monotonic() - began_s, 1)
    figures.plot = str(plot_file.resolve())
    draw(figures, plot_file)
    if json_file is not None:
        json_file.write_bytes(figures.as_json())
    _farewell(console, figures, json_file, folder)
    return 0 if figures.identical and figures.archive.ok else 1


class _Demo:
    """The parts, one after the other, on servers that run."""

    def __init__(self, show: Show, config: Config, supervisor: Supervisor, seed: int, quick: bool) -> None:
        self.show, self.config, self.supervisor = show, config, supervisor
        self.seed, self.quick = seed, quick
        self.watch = Watch(config)
        self.learner = Learner()
        self.killed_s = 0.0
        self.killed_ms = 0

    async def run(self) -> Figures:
        """Play all parts and return what was measured."""
        began_s = time.monotonic()
        self.show.goes_on(SERVERS, f"Kafka on {self.config.brokers}, Redis; starting decide, join, learn and archive")
        await topics.create(self.config)
        try:
            async with self.supervisor, Connection(self.config, self.config.topic("replies.demo")) as client:
                await _ready(self.supervisor)
                roles = ", ".join(f"{role} {pid}" for role, pid in sorted(self.supervisor.pids.items()))
                self.show.done(SERVERS, f"Kafka on {self.config.brokers}, Redis; processes: {roles}")
                log = await self._real_log(client)
                live = await self._live_world(client)
                proof, decision = await self._proof(live)
                archive = await self._archive(proof[POLICY].outcomes)
        finally:
            await self.watch.stop()
        return Figures(
            seed=self.seed,
            seconds=time.monotonic() - began_s,
            real_log=log,
            live=self._live_figures(live),
            learner=self.learner,
            proof=proof,
            decision=decision,
            archive=archive,
            dead_letters=dict(self.watch.dead_letters),
            part_seconds=self.show.seconds,
        )

    async def _real_log(self, client: Connection) -> RealLog:
        items, decisions = real_log.packaged_log()
        decisions = decisions[:QUICK_ROWS] if self.quick else decisions
        rows, clicks = len(decisions), sum(row.clicked for row in decisions)
        loop = self.watch.policies[LOGGED]

        def tell() -> None:
            self.show.goes_on(
                PART_1, f"{rows:,} decisions of a fashion site: {loop.outcomes:,} joined, {loop.learned:,} learned"
            )

        tell()
        logged = list(real_log.traffic(LOGGED, self.config.rule(LOGGED), items, decisions))
        sending = asyncio.create_task(_send_log(client, logged))
        try:
            await self._until(
                lambda: (
                    (loop.outcomes >= rows and loop.learned >= loop.learnable)
                    or (sending.done() and sending.exception() is not None)
                ),
                tell,
            )
        except BaseException:
            sending.cancel()
            raise
        await sending
        identity = identity_in(self.config, LOGGED)
        rewards = self.watch.rewards[self.config.rewards_partition(LOGGED)]
        values = await asyncio.to_thread(real_log.values, LOGGED, identity, loop.versions, rewards)
        self.show.done(
            PART_1,
            f"{rows:,} decisions of a fashion site joined with {loop.rewarded} of {clicks} clicks and learned;"
            f" its value in clicks per 1,000:\nuniform {per_thousand(values.uniform.snips)}, what was learned"
            f" {per_thousand(values.learned.snips)}",
            good=loop.outcomes == rows and loop.rewarded == clicks,
        )
        return RealLog(rows, loop.rewarded, loop.learned, len(loop.versions), values.uniform, values.learned)

    async def _live_world(self, client: Connection) -> LiveWorld:
        visits = QUICK_VISITS if self.quick else VISITS
        world = World(self.seed, visits)
        live = LiveWorld(world, client, VISITS_A_SECOND, self.config.placements[POLICY].window_s)
        loop = self.watch.policies[POLICY]

        def kill() -> None:
            self.learner.killed_pid, self.learner.killed_visit = self.supervisor.pids["learn"], live.asked
            os.kill(self.learner.killed_pid, signal.SIGKILL)
            self.killed_s, self.killed_ms = time.monotonic(), time.time_ns() // 1_000_000
            self.show.mark(live.asked // BIN, "learner killed")

        def change() -> None:
            self.show.mark(live.asked // BIN, "tastes change")

        def tell() -> None:
            self._watch_learner(live)
            self.show.chart(live.curve(), visits // BIN)
            self.show.goes_on(
                PART_2,
                f"{live.asked:,} of {visits:,} visits, {live.sent.total():,} events; {loop.outcomes:,} joined,"
                f" {loop.learned:,} learned; version {loop.version}",
            )

        running = asyncio.create_task(live.run([(KILL_AT, kill), (0.5, change)]))
        try:
            await self._until(running.done, tell, within_s=10 * visits / VISITS_A_SECOND)
        finally:
            running.cancel()
        await running
        self.show.goes_on(PART_2, "waiting until the last windows have closed")
        everything = len(live.shown)
        await self._until(
            lambda: loop.outcomes >= everything and loop.learned >= loop.learnable,
            lambda: self._watch_learner(live),
        )
        last = live.rates(0.75, 1.0)
        self.show.chart(live.curve(), visits // BIN)
        self.show.done(
            PART_2,
            f"{len(live.shown):,} visits, {live.sent.total():,} events; click rate in the last quarter"
            f" {last.policy:.1%}, uniform {last.uniform:.1%}, best possible {last.best:.1%}",
            good=last.policy > last.uniform,
        )
        return live

    def _watch_learner(self, live: LiveWorld) -> None:
        """Note when the killed learner is back, and when it has learned again."""
        learner, now_s = self.learner, time.monotonic()
        if not learner.killed_pid or learner.learned_visit:
            return
        pid = self.supervisor.pids.get("learn")
        if not learner.back_pid and pid not in (None, learner.killed_pid):
            learner.back_pid, learner.back_after_s = int(pid or 0), round(now_s - self.killed_s, 2)
        newest = self.watch.policies[POLICY].versions[-1:]
        if learner.back_pid and newest and newest[0].published_ms > self.killed_ms + 1000 * learner.back_after_s:
            learner.learned_after_s = round((newest[0].published_ms - self.killed_ms) / 1000, 2)
            learner.learned_visit = live.asked
            self.show.done(
                PART_3,
                f"killed with -9 (process {learner.killed_pid}); process {learner.back_pid} took over and published"
                f" version {newest[0].version} after {learner.learned_after_s:.1f} s",
            )
        else:
            self.show.goes_on(PART_3, f"killed with -9 (process {learner.killed_pid})")

    async def _proof(self, live: LiveWorld) -> tuple[dict[str, Proof], DecisionProof]:
        proofs: dict[str, Proof] = {}
        for name in (LOGGED, POLICY):
            doing = f"verify {name}: every reward and every version computed again from the logs"

            def tell(topic: str, passed: int, of: int, doing: str = doing) -> None:
                self.show.goes_on(PART_4, f"{doing}; {topic}, {passed:,} of {of:,} messages")

            self.show.goes_on(PART_4, doing)
            verdict = await verify(self.config, name, tell)
            proofs[name] = Proof(
                verdict.ok,
                verdict.decisions,
                verdict.outcomes,
                verdict.learned,
                verdict.missing,
                verdict.doubled,
                verdict.wrong,
                verdict.versions,
                verdict.identical,
                verdict.live_digest,
                verdict.recomputed_digest,
            )
        # One that was drawn by what had been learned.
        visit = live.shown[len(live.shown) * 9 // 20]
        event_id = live.world.visit(visit.number).event_id
        decisions = await verify_decision(self.config, event_id)
        decision = DecisionProof(
            event_id,
            ", ".join(each.policy_version for each in decisions),
            bool(decisions) and all(each.ok for each in decisions),
            "; ".join(each.reason for each in decisions if each.reason)
            or ("" if decisions else "it is not in the log"),
        )
        good = decision.ok and all(proof.ok and proof.identical for proof in proofs.values())
        learned = sum(proof.learned for proof in proofs.values())
        self.show.done(
            PART_4,
            f"{learned:,} outcomes learned, each exactly once; live weights and those computed again from the log are"
            f" identical; decision {event_id} computed again bit for bit"
            if good
            else "the log does not prove it, see below",
            good=good,
        )
        return proofs, decision

    async def _archive(self, outcomes: int) -> Archived:
        self.show.goes_on(PART_5, f"waiting until it has everything, then judging {POLICY} by its files alone")
        archive = await archived(self.config, POLICY, outcomes)
        uniform = archive.evaluations[0]
        self.show.done(
            PART_5,
            f"{archive.rows:,} rows in {archive.files} files; by them alone a decision of {POLICY} was worth"
            f" {uniform.value_logged:.3f}, and one drawn uniformly {worth(uniform.snips, uniform.snips_interval)}"
            if archive.ok
            else f"{archive.rows:,} rows in {archive.files} files are not the whole log, see below",
            good=archive.ok,
        )
        return archive

    def _live_figures(self, live: LiveWorld) -> Live:
        stretches = {
            "first tenth": (0.0, 0.1),
            "before the change": (0.4, 0.5),
            "after the change": (0.5, 0.6),
            "last quarter": (0.75, 1.0),
        }
        return Live(
            visits=live.world.visits,
            decided=len(live.shown),
            errors=dict(live.errors),
            events=live.sent.total(),
            repeated=live.repeated,
            ahead=live.ahead,
            late=live.late,
            change_visit=live.world.change,
            rates={name: live.rates(start, end) for name, (start, end) in stretches.items()},
            curve=live.curve(),
        )

    async def _until(
        self, holds: Callable[[], bool], tell: Callable[[], None], within_s: float = SETTLE_WITHIN_S
    ) -> None:
        """Look at the logs, and tell, until a condition holds; go on after a while even so: the proof will say why."""
        give_up_s = time.monotonic() + within_s
        while time.monotonic() < give_up_s:
            await self.watch.look()
            tell()
            if holds():
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def _send_log(client: Connection, logged: list[real_log.Logged]) -> None:
    for start in range(0, len(logged), 10 * MESSAGE_DECISIONS):
        part = logged[start : start + 10 * MESSAGE_DECISIONS]
        messages = [part[at : at + MESSAGE_DECISIONS] for at in range(0, len(part), MESSAGE_DECISIONS)]
        await asyncio.gather(
            *(client.append("decisions", array([row.decision for row in message])) for message in messages)
        )
        if clicks := [row.click for row in part if row.click is not None]:
            await client.append("clicks", array(clicks))


def _place(folder: Path | None, stack: ExitStack) -> Path:
    if folder is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-demo-")))
    if folder.exists() and any(folder.iterdir()):
        raise WrongConfiguration(f"--folder: found {folder} with something in it, expected an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _write_settings(folder: Path, running: Servers) -> Path:
    file = folder / "bowerbird.toml"
    addresses = f'brokers = "{running.brokers}"\nredis_url = "{running.redis_url}"\n'
    archive = f"\n[archive]\nurl = {orjson.dumps(str(folder.resolve() / 'archive')).decode()}\nmax_s = {ARCHIVE_S}\n"
    file.write_text(
        addresses + (files(__package__) / "data" / "bowerbird.toml").read_text() + archive, encoding="utf-8"
    )
    return file


@contextmanager
def _logged_to(log: Path) -> Iterator[None]:
    """Keep what this process logs off the display."""
    root = logging.getLogger()
    handler = logging.FileHandler(log)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


async def _ready(supervisor: Supervisor) -> None:
    try:
        await supervisor.until_ready(READY_WITHIN_S)
    except TimeoutError:
        ready = await supervisor.readiness()
        late = ", ".join(role for role, is_ready in ready.items() if not is_ready)
        raise BowerbirdError(f"not ready within {READY_WITHIN_S:.0f} s: {late}") from None


def _farewell(console: Console, figures: Figures, json_file: Path | None, folder: Path | None) -> None:
    console.print()
    console.print(summary(figures))
    console.print(f"\n[bold]Picture[/]  {figures.plot}", soft_wrap=True)
    if json_file is not None:
        console.print(f"[bold]Figures[/]  {json_file.resolve()}", soft_wrap=True)
    if folder is not None:
        console.print(
            f"[bold]Folder[/]   {folder.resolve()} (data of Kafka and Redis, archive, settings, logs)", soft_wrap=True
        )
    console.print("\n[bold]Try next[/]")
    for command, what in (
        (f"bowerbird demo --seed {figures.seed + 1} --json figures.json", "other visitors, all figures"),
        ("bowerbird worker --help", "run it on your own Kafka and Redis"),
        ("bowerbird check", "what your configuration, Kafka and Redis lack"),
        ("bowerbird verify POLICY", "prove your own log"),
    ):
        console.print(f"  [cyan]{command:<52}[/] {what}")
