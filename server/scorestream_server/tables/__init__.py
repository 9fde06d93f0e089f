"""Tables: where rows come from, how they are mapped, and how results are committed."""
