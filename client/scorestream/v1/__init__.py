"""Generated wire stubs of `proto/`."""
