"""A small live world: a news site's front page, its visitors of several tastes, and what they do with it.

Everything is a pure function of the seed and of the visit's number: who comes, what they like, what they do and when.
Half-way the tastes change, so a policy that has learned them must learn again.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SECTIONS = ("politics", "sport", "science", "culture", "cooking")
READERS = ("commuter", "student", "parent", "pensioner")
DEVICES = ("phone", "tablet", "desktop")

# What a reader likes best, and next to best: before the tastes change, and after.
TASTES: Mapping[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "commuter": (("sport", "politics"), ("culture", "science")),
    "student": (("science", "culture"), ("cooking", "sport")),
    "parent": (("cooking", "science"), ("politics", "culture")),
    "pensioner": (("politics", "culture"), ("sport", "cooking")),
}
FAVOURITE, SECOND, OTHER = 0.42, 0.20, 0.05
"""How probably a reader clicks an article of the best-liked section, of the next, and of any other."""

WINDOW_S = 1.5
"""How long the demo waits for feedback; the world's delays are made to fit it."""
SEEN = 0.96
BEFORE = 0.04
TWICE = 0.05
LATE = 0.02
BUYS = 0.15


class Article(NamedTuple):
    """One thing that the front page can show."""

    id: str
    section: str
    pages: int
    appeal: float

    def action(self) -> dict[str, Any]:
        """Return what the site knows of the article: an action of a request."""
        return {"id": self.id, "features": {"article": {"section": self.section, "pages": self.pages}}}


class Visit(NamedTuple):
    """One visit: a request for a decision.

    Attributes
    ----------
    seen
        Whether the visitor waits until the page is shown.
    reports_early
        Whether the page reports the view before it asks for a decision.
    mood
        From 0 to 1: the visitor clicks what is liked more than that.
    """

    number: int
    event_id: str
    reader: str
    device: str
    hour: int
    seen: bool
    reports_early: bool
    mood: float

    def context(self) -> dict[str, Any]:
        """Return what the site knows of the visit: the features of the context."""
        return {"user": {"reader": self.reader, "device": self.device, "evening": self.hour >= 18}}


class Event(NamedTuple):
    """Something that a visitor did.

    Attributes
    ----------
    id
        The event's own name: a repeat has the same one.
    after_s
        Seconds after the reply; None: sent before the request, as by a page that reports faster than it asks.
    """

    stream: str
    id: str
    event_id: str
    after_s: float | None


@dataclass(frozen=True, slots=True)
class World:
    """Visitors, articles and clicks, all decided by a seed.

    Parameters
    ----------
    seed
        Another seed, other people.
    visits
        How many visits the whole show has; the tastes change at half of them.
    """

    seed: int
    visits: int

    @property
    def change(self) -> int:
        """The number of the first visit with changed tastes."""
        return self.visits // 2

    def articles(self) -> list[Article]:
        """Return the articles of the front page: two of each section.

        >>> len(World(seed=1, visits=10).articles())
        10
        """
        chance = random.Random(f"articles {self.seed}")
        return [
            Article(f"{section}-{number}", section, chance.randrange(1, 5), chance.uniform(0.85, 1.0))
            for section in SECTIONS
            for number in (1, 2)
        ]

    def visit(self, number: int) -> Visit:
        """Return the visit of a number, from 0."""
        chance = self._chance("visit", number)
        return Visit(
            number,
            f"visit-{number:06d}",
            chance.choice(READERS),
            chance.choice(DEVICES),
            chance.randrange(24),
            chance.random() < SEEN,
            chance.random() < BEFORE,
            chance.random(),
        )

    def click_probability(self, visit: Visit, article: Article) -> float:
        """Return how probably such a visitor clicks the article, if it is shown."""
        return SEEN * self._liking(visit, article)

    def best_possible(self, visit: Visit, articles: Sequence[Article]) -> float:
        """Return the click probability of the article that suits the visitor best."""
        return max(self.click_probability(visit, article) for article in articles)

    def uniform(self, visit: Visit, articles: Sequence[Article]) -> float:
        """Return the click probability when any article is as probable as any other."""
        return math.fsum(self.click_probability(visit, article) for article in articles) / len(articles)

    def before(self, visit: Visit) -> list[Event]:
        """Return what is sent before the request: some pages report a view faster than they ask."""
        if not (visit.seen and visit.reports_early):
            return []
        return [Event("views", f"{visit.event_id}-view", visit.event_id, None)]

    def events(self, visit: Visit, article: Article) -> list[Event]:
        """Return what the visitor does after the article was shown, repeats and late events included."""
        if not visit.seen:
            return []
        chance = self._chance(f"events {article.id}", visit.number)
        made: list[Event] = []

        def happens(stream: str, name: str, after_s: float) -> None:
            event = Event(stream, f"{visit.event_id}-{name}", visit.event_id, after_s)
            made.append(event)
            if chance.random() < TWICE:
                made.append(event._replace(after_s=after_s + chance.uniform(0.02, 0.4)))

        if not visit.reports_early:
            happens("views", "view", chance.uniform(0.01, 0.1))
        if self.clicks(visit, article):
            click_s = min(0.1 + chance.expovariate(4.0), 0.6 * WINDOW_S)
            if chance.random() < LATE:
                happens("clicks", "click", WINDOW_S + chance.uniform(0.5, 1.5))
            else:
                happens("clicks", "click", click_s)
                if chance.random() < BUYS:
                    happens("purchases", "purchase", click_s + chance.uniform(0.05, 0.2 * WINDOW_S))
        return sorted(made, key=lambda event: event.after_s or 0.0)

    def clicks(self, visit: Visit, article: Article) -> bool:
        """Return whether the visitor clicks the article, if it is shown."""
        return visit.seen and visit.mood < self._liking(visit, article)

    def _liking(self, visit: Visit, article: Article) -> float:
        best, second = TASTES[visit.reader][visit.number >= self.change]
        liking = FAVOURITE if article.section == best else SECOND if article.section == second else OTHER
        return liking * article.appeal

    def _chance(self, purpose: str, number: int) -> random.Random:
        return random.Random(f"{purpose} {self.seed} {number}")
