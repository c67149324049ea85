"""What Sphinx is taught: the names of funcnet, its source, its formulas."""
