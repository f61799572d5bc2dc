"""Studies in YAML: `parse` the text, `read` the recipe, `plan` its jobs, `execute` the open ones.

A recipe adds no logic of its own: every step is a subcommand, checked against that command's own
options. The commands are passed in as functions; nothing here imports click.
"""
