"""A study of many jobs, as the command line runs it."""
