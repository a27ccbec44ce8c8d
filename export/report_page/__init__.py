"""The HTML report: one file to look at and listen to."""
