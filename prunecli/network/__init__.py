"""A network: built, filled, and asked about its layers."""
