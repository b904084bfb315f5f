"""A comparison of two policies as text."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace_plugins.policy.comparison import Comparison, Loss, Outcome
from tailrace_plugins.policy.policy import BODIES

_LEAST_DAYS = 1 / 86_400  # from less than a second nothing can be said of a day


def render(comparison: Comparison, old: str, new: str) -> Iterator[str]:
    """Give the lines that say what two policies leave of a log."""
    days = comparison.days
    covers = f", {_span(days)}" if days >= _LEAST_DAYS else ""
    yield f"log: {comparison.events} events, {comparison.size} bytes{covers}"
    if comparison.unreadable:
        yield f"  and {comparison.unreadable} lines that are no events"
    for word, name, outcome in (("OLD", old, comparison.old), ("NEW", new, comparison.new)):
        yield ""
        yield f"{word} {name}"
        yield from _outcome(outcome, days)
    yield ""
    yield from _loss("lost", comparison.lost)
    yield from _loss("gained", comparison.gained)
    yield _total(comparison, days)
    if comparison.new.raised:
        yield (
            f"{comparison.new.raised} events were recorded at a lower level than NEW asks for: an API server that has "
            "NEW will write more than is counted here"
        )


def _outcome(outcome: Outcome, days: float) -> Iterator[str]:
    row = "  {:<18} {:<16} {:>10} {:>14} {:>10} {:>14} {:>10}".format
    yield row("rule", "level", "events", "bytes", "kept", "bytes", "MB/day")
    for index in [*range(len(outcome.policy.rules)), None]:
        share = outcome.shares.get(index)
        if index is not None:
            rule = outcome.policy.rules[index]
            name, level = f"{index + 1} (line {rule.line})", rule.level
        elif share is not None:
            name, level = "none matches", share.level
        else:
            continue
        if share is None:
            yield row(name, level, 0, 0, 0, 0, _per_day(0, days))
        else:
            kept = share.kept_events, share.kept_size, _per_day(share.kept_size, days)
            yield row(name, level, share.events, share.size, *kept)
    events = sum(share.events for share in outcome.shares.values())
    size = sum(share.size for share in outcome.shares.values())
    total = outcome.kept_events, outcome.kept_size, _per_day(outcome.kept_size, days)
    yield row("all", "", events, size, *total)
    if outcome.undecided:
        yield f"  and {outcome.undecided} events that no policy can judge"


def _loss(word: str, loss: Loss) -> Iterator[str]:
    yield f"{word} from OLD to NEW: {loss.events} events ({loss.size} bytes); " + ", ".join(
        f"{body} of {loss.bodies[body]} events" for body in BODIES
    )


def _total(comparison: Comparison, days: float) -> str:
    old, new = comparison.old.kept_size, comparison.new.kept_size
    change = f" ({100 * (new - old) / old:+.1f} %)" if old else ""
    if days < _LEAST_DAYS:
        return f"in all: {old} bytes become {new}{change}; the log is too short to say what that is in a day"
    return f"in all: {_per_day(old, days)} MB per day become {_per_day(new, days)}{change}"


def _per_day(size: int, days: float) -> str:
    return f"{size / days / 1e6:.1f}" if days >= _LEAST_DAYS else "-"


def _span(days: float) -> str:
    return next(
        f"{days * times:.1f} {unit}"
        for times, unit in ((1, "days"), (24, "hours"), (1440, "minutes"), (86_400, "seconds"))
        if days * times >= 1 or unit == "seconds"
    )
