"""Text for a terminal: what came from a file's name can neither steer it nor pass for another line."""


def legible(text: str) -> str:
    """``text`` with everything that is not printable written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
