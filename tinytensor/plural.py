"""A number and a noun, in the singular or the plural."""


def plural(count: int, thing: str) -> str:
    """1 step, 2,000 steps"""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
