"""Studies in YAML: `parse` reads a recipe, `plan` makes jobs of it, `execute` does what is left.

A recipe adds no logic of its own: every step is a subcommand, checked against that command's own
options. The commands come in as functions; nothing here imports click.
"""
