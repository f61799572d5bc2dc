"""The figures of a report: what they show, of which rows, and their looks."""
