"""What may become of rows that cannot be scored."""

import enum


class OnRowError(enum.StrEnum):
    """What becomes of rows that cannot be scored, for instance because the score code calls ERROR."""

    KEEP = "KEEP"
    """Their scores are null, the column `row_error` of the result says why, and the job goes on."""
    FAIL = "FAIL"
    """The job fails with the first of them."""
