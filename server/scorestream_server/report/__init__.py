"""What is told of a job, written for people: the listing as plain text, the report as an HTML page."""
