"""Draws docs/diagrams/standing.md from the table in mlsrtc.standing: `python scripts/draw_standing.py >
FILE`.
"""

from mlsrtc.standing import TABLE, WORLD, Move, Stage, Trouble, Where

HEAD = """# Where our device stands

Drawn from the table in `python/mlsrtc/standing/table.py` by `scripts/draw_standing.py`; a test compares.
A state says what the head is to us. Solid words on an edge are moves of our own with their reason; words in
(brackets) are what others do to us. The rows in which nothing moves stand below the picture.
"""


def draw() -> str:
    """The page, as Markdown with one Mermaid diagram."""
    lines = [HEAD, "```mermaid", "stateDiagram-v2", f"    [*] --> {Where.OUTSIDE.value}: join"]
    for (where, _, _), row in TABLE.items():
        if row.then is not where:
            lines.append(f"    {where.value} --> {row.then.value}: {row.move.value}, {row.why}")
    lines += [f"    {before.value} --> {after.value}: ({what})" for before, after, what in WORLD]
    lines += [
        "```",
        "",
        "| the head is | next commit | time has shown | move | because |",
        "|" + " --- |" * 5,
    ]
    for (where, trouble, stage), row in TABLE.items():
        cells = (
            where.value,
            "" if trouble is Trouble.NONE else trouble.value,
            "" if stage is Stage.ANY else stage.value,
            row.move.value,
            row.why,
        )
        lines.append("| " + " | ".join(cells) + " |")
    moves = {row.move for row in TABLE.values()}
    assert moves == set(Move), "every move has a row"
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(draw(), end="")
