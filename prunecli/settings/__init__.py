"""What commands may be told."""
