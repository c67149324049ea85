"""Numbers in few bits: rounding, packing, products of integers."""
