"""The comparison as one self-contained HTML page: nothing is fetched, no script runs."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from mlsrtc.simulate import plots, table
from mlsrtc.simulate.compare import Comparison
from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.hall import HALL
from mlsrtc.simulate.measure import __doc__ as measured
from mlsrtc.simulate.network import NETWORK

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; display: block; overflow-x: auto; }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; white-space: normal; }
tr.real td { background: #eaf6ea; font-weight: 600; }
tr.assumed td { background: #fff6df; }
code, pre { background: #f4f4f4; padding: 1px 4px; }
pre { white-space: pre-wrap; padding: 8px; }
svg { max-width: 100%; height: auto; }
dt { font-weight: 600; } dd { margin: 0 0 6px 1.5em; }
"""


def page(comparison: Comparison, command: str) -> str:
    """The whole page. `command`: what made it."""
    parts = [
        f"<h1>Key distribution on one trace: {escape(comparison.trace.title)}</h1>",
        f"<p>{escape(' '.join(table.sentences(comparison)))}</p>",
        f"<pre>{escape(command)}</pre>",
        plots.presence(comparison),
        "<h2>Side by side</h2>",
        *(_part(comparison, part) for part in table.parts(comparison)),
        "<p>Shaded: p95 and the most. Scales are logarithmic.</p>",
        "<h3>What the columns are</h3>",
        _list(table.EXPLAINED),
        "<h3>The schemes</h3>",
        _list((scheme.title + (" (real)" if scheme.real else ""), scheme.note) for scheme in comparison.schemes),
    ]
    if comparison.growth:
        parts += ["<h2>How each grows</h2>", _growth_words(comparison), plots.growth(comparison), _growth(comparison)]
    parts += ["<h2>How it was measured</h2>", f"<pre>{escape((measured or '').strip())}</pre>"]
    parts += _deviations(comparison)
    parts += ["<h2>Constants</h2>", "<p>What no source says is assumed, and marked.</p>", *_constants(comparison)]
    parts += ["<h2>Primitives, timed on this machine</h2>", _primitives(comparison)]
    title = f"mlsrtc simulate: {comparison.trace.name}"
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _part(comparison: Comparison, part: table.Part) -> str:
    head = f"<h3>{escape(part.head)}</h3>\n" if part.head else ""
    lines = [(row.cells, "real" if row.real else "") for row in table.rows(comparison, part)]
    return f"{head}{_table(table.HEAD, lines)}\n{plots.bars(comparison, part)}"


def _growth_words(comparison: Comparison) -> str:
    most = {
        s.title: max((g.n for g in comparison.growth if g.scheme == s.name), default=0)
        for s in comparison.schemes
        if s.real
    }
    real = "; ".join(f"{title}: to {n}" for title, n in most.items())
    return (
        "<p>A settled call of n: one leaves, and four minutes later another one joins. Models go to the greatest n; "
        f"real machines, all in one process, as far as they were run ({escape(real)}). "
        "<em>Never</em>, <em>for ever</em>: not within eight minutes.</p>"
    )


def _growth(comparison: Comparison) -> str:
    head = ("scheme", *table.GROWTH_HEAD)
    lines: list[tuple[Sequence[str], str]] = []
    for title, rows in table.growth_rows(comparison):
        lines += [((title, *row), "") for row in rows]
    above = '<tr><th></th><th></th><th colspan="4">a leave</th><th></th><th colspan="2">a join</th></tr>'
    return _table(head, lines, above=above)


def _deviations(comparison: Comparison) -> list[str]:
    rows = table.deviations(comparison.calibration)
    if not rows:
        return []
    command = escape(str((comparison.calibration or {}).get("command", "")))
    return [
        "<h2>The model beside real runs</h2>",
        "<p>The same changes on a real Synapse, on loopback, and in the model with links that take no time: "
        f"<code>{command}</code></p>",
        _table(table.DEVIATION_HEAD, [(row, "") for row in rows]),
        f"<p>{escape(f'{table.DEVIATION_EXPLAINED} {table.calibration_words(comparison.calibration)}')}</p>",
    ]


def _constants(comparison: Comparison) -> list[str]:
    return [
        "<h3>The network, for all</h3>",
        _constant_table(NETWORK | HALL),
        *(f"<h3>{escape(scheme.title)}</h3>{_constant_table(scheme.constants)}" for scheme in comparison.schemes),
    ]


def _constant_table(constants: Mapping[str, Constant]) -> str:
    lines = [
        (
            (name, f"{one.value:g}", one.unit, ("assumed: " if one.assumed else "") + one.source),
            "assumed" if one.assumed else "",
        )
        for name, one in constants.items()
    ]
    return _table(("what", "value", "unit", "source"), lines)


def _primitives(comparison: Comparison) -> str:
    primitives = comparison.primitives
    lines: list[tuple[Sequence[str], str]] = []
    for name, curve in primitives.seconds.items():
        points = ", ".join(
            f"{'' if len(curve.points) == 1 else f'{n}: '}{value * 1e6:,.1f} µs" for n, value in curve.points.items()
        )
        lines.append(((name, points), ""))
    for name, curve in primitives.bytes.items():
        points = ", ".join(
            f"{'' if len(curve.points) == 1 else f'{n}: '}{value:,.0f} B" for n, value in curve.points.items()
        )
        lines.append(((name, points), ""))
    return _table(("what", "by the size of the group"), lines)


def _table(head: Sequence[str], lines: Iterable[tuple[Sequence[str], str]], *, above: str = "") -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(
        f"<tr{f' class={kind}' if kind else ''}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells, kind in lines
    )
    return f"<table><thead>{above}<tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _list(items: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in items) + "</dl>"
