"""The durable record of everything a client was told."""
