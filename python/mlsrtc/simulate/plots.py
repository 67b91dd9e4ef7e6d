"""Plots of the comparison as SVG. Knows matplotlib."""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from mlsrtc.simulate import table
from mlsrtc.simulate.compare import Comparison, Growth, Outcome

mpl.use("svg")

# One colour for a family; its forms differ in their lines.
LOOKS = {
    "jitsi": ("#8c564b", "-"),
    "jitsi-unlimited": ("#8c564b", "--"),
    "zoom": ("#e377c2", "-"),
    "element-call": ("#1f77b4", "-"),
    "element-call-limit": ("#1f77b4", "--"),
    "element-call-budget": ("#1f77b4", ":"),
    "famedly": ("#ff7f0e", "-"),
    "famedly-ratchet": ("#ff7f0e", "--"),
    "dave": ("#9467bd", "-"),
    "webex": ("#9467bd", "--"),
    "wire": ("#9467bd", ":"),
    "cloudflare": ("#9467bd", "-."),
    "keyshare": ("#2ca02c", "--"),
    "mlsrtc": ("#2ca02c", "-"),
}
OTHER = ("#17becf", "-")
FONT: dict[Any, Any] = {"svg.hashsalt": "simulate", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}


def presence(comparison: Comparison) -> str:
    """How many are in the call over time."""
    stays = comparison.trace.stays
    moments = sorted({0.0, comparison.trace.seconds, *(s.begins for s in stays), *(s.ends for s in stays)})
    counts = [sum(stay.begins <= moment < stay.ends for stay in stays) for moment in moments]
    with mpl.rc_context(FONT):
        figure = Figure(figsize=(9, 1.8), layout="constrained")
        axes = figure.subplots()
        axes.step(moments, counts, where="post", color="#444")
        axes.set(xlabel="seconds", ylabel="in the call", ylim=(0, None), xlim=(0, comparison.trace.seconds))
        axes.grid(alpha=0.3)
        return _svg(figure)


Bar = tuple[str, Callable[[Outcome], Sequence[float]], str]  # the last: what it is called when it had no end

BARS: Sequence[Bar] = (
    ("messages", lambda o: [o.counts["to_device"] + o.counts["room_events"] + o.counts["requests"]], table.NEVER),
    ("megabytes up", lambda o: [o.counts["bytes_up"] / 1e6], table.NEVER),
    ("crypto CPU of all, s", lambda o: [o.cpu], table.NEVER),
    (
        "a leaver listens, s (p50, p95, most)",
        lambda o: [o.measures.listening.p50, o.measures.listening.p95, o.measures.listening.most],
        table.FOR_EVER,
    ),
    (
        "join → all have keys, s (p50, p95, most)",
        lambda o: [o.measures.join_to_keys.p50, o.measures.join_to_keys.p95, o.measures.join_to_keys.most],
        table.NEVER,
    ),
    ("deaf, % of the time of all pairs", lambda o: [o.measures.deaf_share * 100], table.NEVER),
)


def bars(comparison: Comparison, part: table.Part) -> str:
    """The figures of the trace side by side. What had no end is drawn to the edge and named so."""
    outcomes = list(part.outcomes)[::-1]
    names = [comparison.scheme(outcome.scheme).title for outcome in outcomes]
    with mpl.rc_context(FONT):
        figure = Figure(figsize=(12, 0.42 * len(names) * 2 + 1.6), layout="constrained")
        grid = figure.subplots(2, 3, sharey=True)
        for axes, (title, value, endless) in zip(grid.flat, BARS, strict=True):
            _bars(axes, [value(outcome) for outcome in outcomes], outcomes, endless)
            axes.set_title(title)
            axes.set_yticks(range(len(names)), names)
        return _svg(figure)


def _bars(axes: Any, values: list[Sequence[float]], outcomes: Sequence[Outcome], endless: str) -> None:
    finite = [value for some in values for value in some if math.isfinite(value) and value > 0]
    least, most = (min(finite), max(finite)) if finite else (0.1, 1.0)
    edge = most * 3
    axes.set_xscale("log")
    axes.set_xlim(least / 2, edge)
    for place, (some, outcome) in enumerate(zip(values, outcomes, strict=True)):
        colour = LOOKS.get(outcome.scheme, OTHER)[0]
        for number, value in enumerate(reversed(some)):
            drawn = edge if not math.isfinite(value) else value
            axes.barh(place, drawn, color=colour, alpha=(0.3, 0.6, 1.0)[number + 3 - len(some)], height=0.7)
        if not math.isfinite(some[0]):
            axes.text(least, place, endless, va="center", ha="left", fontsize=8)
    axes.grid(axis="x", alpha=0.3)


Line = tuple[str, Callable[[Growth], float]]

LINES: Sequence[Line] = (
    ("messages for a leave", lambda growth: growth.leave.messages),
    ("bytes up for a leave", lambda growth: growth.leave.bytes_up),
    ("crypto CPU of all for a leave, s", lambda growth: growth.leave.cpu),
    ("leave → all have new keys, s", lambda growth: growth.leave.seconds),
    ("a leaver listens, s", lambda growth: growth.listening),
    ("join → all have keys, s", lambda growth: growth.join.seconds),
)


def growth(comparison: Comparison) -> str:
    """How each grows with the size of the call, on two logarithms. A line ends where it never comes about."""
    with mpl.rc_context(FONT):
        figure = Figure(figsize=(12, 8), layout="constrained")
        grid = figure.subplots(2, 3)
        for axes, (title, value) in zip(grid.flat, LINES, strict=True):
            for scheme in comparison.schemes:
                points = [(one.n, value(one)) for one in comparison.growth if one.scheme == scheme.name]
                points = [(n, figure_) for n, figure_ in points if math.isfinite(figure_) and figure_ > 0]
                if points:
                    colour, style = LOOKS.get(scheme.name, OTHER)
                    width = 2.5 if scheme.real else 1.2
                    xs, ys = zip(*points, strict=True)
                    axes.plot(
                        xs,
                        ys,
                        color=colour,
                        linestyle=style,
                        linewidth=width,
                        marker="o",
                        markersize=3,
                        label=scheme.title,
                    )
            axes.set(xscale="log", yscale="log", title=title, xlabel="devices in the call")
            axes.grid(alpha=0.3, which="both")
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
