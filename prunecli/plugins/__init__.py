"""Methods, models, data sets and pruners by their names, also those of others."""
