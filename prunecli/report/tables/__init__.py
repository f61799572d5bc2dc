"""The tables of a report, and the forms in which they are written."""
