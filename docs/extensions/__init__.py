"""What Sphinx is taught for this site: the names of funcnet, its source, its formulas."""
