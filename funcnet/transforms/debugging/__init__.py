"""Finding where numbers go wrong."""
