"""Second derivatives by products with vectors, and what is estimated from them."""
