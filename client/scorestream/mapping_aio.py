"""Nothing: what `mapping.py` adds to the blocking client cannot be awaited."""


class Mapped:
    """Named values on the server, asked for by methods alone."""
