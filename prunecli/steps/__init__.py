"""One function per subcommand: paths in, a path out. What the CLI and recipes are thin skins of."""
