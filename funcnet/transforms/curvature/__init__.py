"""Second derivatives by products with vectors, and estimates made from them."""
