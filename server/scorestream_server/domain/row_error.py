"""Rows that cannot be scored, because of what is in them."""

import enum


class OnRowError(enum.StrEnum):
    """What becomes of rows that cannot be scored."""

    KEEP = "KEEP"
    """Their scores are null, and the result's column `ROW_ERROR` says why."""
    FAIL = "FAIL"
    """The job fails with the first of them; the result has no such column."""


ROW_ERROR = "row_error"
"""Column of a result, the last one: why a row could not be scored, null for other rows."""
ROW_NOT_SCORED = "ROW_NOT_SCORED"
"""Reason of the failure of a job with a row that cannot be scored."""
LONGEST_REASON = 1_000
"""Characters of what is said of a row; score code may put them together from what is in the row."""
