"""What others have written, as it may be shown on a terminal."""


def plain(text: str) -> str:
    """One line: whatever would move the cursor, change colours or begin a line is a space."""
    return "".join(one if one.isprintable() else " " for one in text)
