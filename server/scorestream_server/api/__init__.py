"""The door: one servicer a proto service; wire types stop here."""
