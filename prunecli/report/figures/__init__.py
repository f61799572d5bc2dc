"""The figures of a report: what is drawn, of which rows, and how it looks."""
