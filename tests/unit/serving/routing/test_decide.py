"""Decisions: what no rule of the file may break, and which rule comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import naming
from serving.routing.conditions import CONDITIONS, Case, Form, Limit
from serving.routing.decide import apply, best_hour, decide, is_held_out, sends_counted
from serving.routing.facts import Facts
from serving.routing.message import ActionKind
from serving.routing.settings import Cap, RoutingSettings, Rule

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DAY_S = 86_400.0
NAN = float("nan")

shares = st.one_of(st.just(NAN), st.floats(0.0, 1.0))
numbers = st.one_of(st.just(NAN), st.floats(0.0, 1_000.0))
facts = st.builds(
    Facts,
    subscribed=st.sampled_from([NAN, 0.0, 1.0]),
    ghost=shares,
    silent_days=numbers,
    seen_sends=st.floats(0.0, 100.0),
    recent_sends=st.floats(0.0, 100.0),
    opens_trend=numbers,
    sends=st.dictionaries(st.sampled_from(naming.WINDOWS_DAYS), st.floats(0, 50)),
    counted_at=st.one_of(st.just(NAN), st.floats(0.0, 2e9)),
    last_send_at=st.one_of(st.just(NAN), st.floats(0.0, 2e9)),
    blocks=st.one_of(st.just(()), st.tuples(*[st.floats(0.0, 1.0)] * naming.BLOCKS)),
    utc_offset_minutes=st.one_of(st.just(NAN), st.floats(-840, 840)),
)
cases = st.builds(
    Case,
    facts=facts,
    score=st.floats(0.0, 1.0),
    tier=st.sampled_from([None, "low", "mid", "high"]),
)


def limits(word: str) -> st.SearchStrategy[Limit]:
    form = CONDITIONS[word].form
    if form is Form.FLAG:
        return st.booleans()
    if form is Form.NAMES:
        return st.frozensets(st.sampled_from(["low", "mid", "high"]), min_size=1)
    return st.floats(0.0, 1.0 if form is Form.SHARE else 500.0)


whens = st.fixed_dictionaries({}, optional={word: limits(word) for word in CONDITIONS})


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind = draw(st.sampled_from(ActionKind))
    days = draw(st.one_of(st.none(), st.floats(0.1, 90)))
    name = f"r{draw(st.integers(0, 10**6))}"
    return Rule(name=name, kind=kind, when=draw(whens), hold_days=days)


caps = st.lists(st.builds(Cap, st.integers(1, 5), st.sampled_from([1, 2, 7, 30])), max_size=2)


@given(cases, st.lists(rules(), max_size=6))
def test_a_ghost_is_never_sunset_whatever_the_rules_say(case: Case, every: list[Rule]) -> None:
    settings = RoutingSettings(rules=tuple(every))

    decided = decide("ann", case, settings, sends=(), now=NOW)

    if decided.action.kind is ActionKind.SUNSET:
        assert case.facts.ghost < 0.5


@given(cases, st.lists(rules(), max_size=6), caps, st.integers(0, 50))
def test_the_held_out_are_routed_by_no_score_and_no_rule(
    case: Case, every: list[Rule], allowed: list[Cap], number: int
) -> None:
    settings = RoutingSettings(rules=tuple(every), caps=tuple(allowed), holdout_share=0.5)
    customer = f"c{number}"

    decided = decide(customer, case, settings, sends=(), now=NOW)
    others = [
        decide(
            customer,
            Case(facts=case.facts, score=score, tier=tier),
            settings,
            sends=(),
            now=NOW,
        )
        for score, tier in ((0.0, "low"), (1.0, "high"))
    ]

    assert decided.holdout == is_held_out(customer, settings)
    if decided.holdout:
        assert decided.action.rule in {"holdout", "frequency_cap", "unsubscribed"}
        assert [other.action for other in others] == [decided.action] * 2


@given(caps, st.lists(st.floats(0.0, 40.0), min_size=1, max_size=60))
def test_a_cap_is_never_exceeded(allowed: list[Cap], days: list[float]) -> None:
    settings = RoutingSettings(caps=tuple(allowed))
    sends: list[float] = []

    for day in days:  # in any order: a request may be for a moment to come
        at = NOW + timedelta(days=day)
        case = Case(facts=Facts(), score=0.5, tier=None)
        if decide("ann", case, settings, sends=sends, now=at).action.kind is ActionKind.SEND:
            sends = sorted([*sends, at.timestamp()])

    for cap in allowed:
        windows = [
            [one for one in sends if first <= one < first + cap.days * DAY_S] for first in sends
        ]
        assert max(map(len, windows)) <= cap.sends


@given(caps, facts, st.lists(st.floats(-40.0, 0.0), max_size=20))
def test_a_hold_by_a_cap_ends_later_and_says_why(
    allowed: list[Cap], known: Facts, days: list[float]
) -> None:
    sends = sorted((NOW + timedelta(days=day)).timestamp() for day in days)

    case = Case(facts=known, score=0.5, tier=None)
    action = decide("ann", case, RoutingSettings(caps=tuple(allowed)), sends=sends, now=NOW).action

    if action.rule == "frequency_cap":
        assert action.until is not None
        assert datetime.fromisoformat(action.until) > NOW
        assert "sends in the last" in action.reason


def test_a_cap_counts_what_others_sent_before_the_midnight_and_at_least_one_since() -> None:
    midnight = NOW.replace(hour=0, minute=0)
    known = Facts(
        sends={7: 3.0}, counted_at=midnight.timestamp(), last_send_at=NOW.timestamp() - 60
    )
    own = (NOW.timestamp() - 3_600, NOW.timestamp() - 60)

    assert sends_counted(known, Cap(5, 7), (), NOW) == 4
    assert sends_counted(known, Cap(5, 7), own, NOW) == 5
    assert sends_counted(known, Cap(1, 1), (), NOW) == 1
    assert sends_counted(Facts(), Cap(1, 1), (), NOW) == 0


def test_the_end_of_a_cap_is_when_the_oldest_send_leaves_its_days() -> None:
    settings = RoutingSettings(caps=(Cap(2, 7),))
    sends = [(NOW - timedelta(days=day)).timestamp() for day in (5, 1)]

    action = decide("ann", a_case(), settings, sends=sends, now=NOW).action

    assert (action.kind, action.until) == (ActionKind.HOLD, "2026-03-04T09:30:00Z")
    after = decide("ann", a_case(), settings, sends=sends, now=NOW + timedelta(days=2)).action
    assert after.kind is ActionKind.SEND


def test_who_unsubscribed_is_not_mailed_even_when_held_out() -> None:
    settings = RoutingSettings(holdout_share=1.0)

    action = decide("ann", a_case(subscribed=0.0), settings, sends=(), now=NOW).action

    assert (action.kind, action.rule) == (ActionKind.SUPPRESS, "unsubscribed")


def test_the_first_rule_that_applies_decides_and_tells_what_it_compared() -> None:
    every = (
        rule("ghost", ActionKind.REPAIR, ghost_at_least=0.8),
        rule("cold", ActionKind.SUNSET, tier=frozenset({"low"}), silent_days=180.0, seen_sends=5.0),
        rule("poor", ActionKind.SUPPRESS, score_below=0.1),
    )
    settings = RoutingSettings(rules=every)
    cold = a_case(score=0.05, silent_days=200.0, seen_sends=9.0, ghost=0.1)

    action = decide("ann", cold, settings, sends=(), now=NOW).action

    assert (action.kind, action.rule) == (ActionKind.SUNSET, "cold")
    assert "silent for 200 days in which mail was seen, at least 180" in action.reason
    ghost = a_case(score=0.05, silent_days=200.0, seen_sends=9.0, ghost=0.9)
    assert decide("ann", ghost, settings, sends=(), now=NOW).action.kind is ActionKind.REPAIR
    half = a_case(score=0.05, silent_days=200.0, seen_sends=9.0, ghost=0.6)
    assert decide("ann", half, settings, sends=(), now=NOW).action.rule == "poor"


def test_of_whom_nothing_is_known_no_rule_decides() -> None:
    settings = RoutingSettings(rules=(rule("all", ActionKind.SUPPRESS),))

    action = decide("ann", None, settings, sends=(), now=NOW).action

    assert (action.kind, action.rule) == (ActionKind.SEND, "unknown_customer")


@pytest.mark.parametrize(
    ("word", "limit"),
    [(w, 0.0) for w in CONDITIONS if w not in {"tier", "subscribed", "score_below"}],
)
def test_a_condition_on_what_is_not_known_is_not_met(word: str, limit: float) -> None:
    unknown = Case(facts=Facts(seen_sends=NAN, recent_sends=NAN), score=NAN, tier=None)

    assert not CONDITIONS[word].is_met(unknown, limit)


@pytest.mark.parametrize(
    ("offset", "until"),
    [
        (0.0, "2026-03-02T16:00:00+00:00"),  # block 4 begins at 16:00 local
        (120.0, "2026-03-02T14:00:00+00:00"),
        (-300.0, "2026-03-02T21:00:00+00:00"),
        (NAN, "2026-03-02T16:00:00+00:00"),
    ],
)
def test_the_best_hour_is_the_customers_own(offset: float, until: str) -> None:
    known = Facts(blocks=(0.1, 0.1, 0.1, 0.1, 0.5, 0.1), utc_offset_minutes=offset)

    assert best_hour(known, 0.3, NOW) == datetime.fromisoformat(until)


def test_within_the_best_hours_or_without_any_nobody_waits() -> None:
    now_best = Facts(blocks=(0.0, 0.0, 0.9, 0.1, 0.0, 0.0), utc_offset_minutes=0.0)
    flat = Facts(blocks=(0.17, 0.17, 0.17, 0.17, 0.16, 0.16))
    hold = Rule(name="hour", kind=ActionKind.HOLD, when={}, least_share=0.3)

    for known in (now_best, flat, Facts()):
        assert apply(hold, Case(facts=known, score=0.5, tier=None), NOW) is None


@given(facts)
def test_the_best_hour_comes_within_a_day(known: Facts) -> None:
    found = best_hour(known, 0.0, NOW)

    assert found is None or NOW < found <= NOW + timedelta(days=1)


def test_who_may_not_get_mail_is_sunset_only_if_the_rule_says_so() -> None:
    when: dict[str, Limit] = {"silent_days": 180.0, "seen_sends": 5.0}
    careful = Rule(name="cold", kind=ActionKind.SUNSET, when=when)
    without = Rule(name="cold", kind=ActionKind.SUNSET, when=when, without_placement=True)
    for ghost, by_careful, by_without in ((NAN, False, True), (0.2, True, True), (0.6, 0, 0)):
        case = a_case(silent_days=200.0, seen_sends=9.0, ghost=ghost)
        assert (apply(careful, case, NOW) is not None) == by_careful
        assert (apply(without, case, NOW) is not None) == by_without


def rule(name: str, kind: ActionKind, **when: Limit) -> Rule:
    return Rule(name=name, kind=kind, when=when)


def a_case(score: float = 0.5, tier: str | None = "low", **known: float) -> Case:
    return Case(facts=Facts(**known), score=score, tier=tier)  # type: ignore[arg-type] # floats
