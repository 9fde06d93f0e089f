"""What the server talks about: frozen records and enums, no I/O."""
