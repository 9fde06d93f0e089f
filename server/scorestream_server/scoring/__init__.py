"""Model families: each turns rows into scores on the device it is given."""
