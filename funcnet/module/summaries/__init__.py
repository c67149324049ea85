"""What a model is made of, as a table: shapes, parameters, operations, bytes, of a call that is traced but not run."""
