"""The loop that drives jobs: ask the scheduler, send to workers, record what came back."""
