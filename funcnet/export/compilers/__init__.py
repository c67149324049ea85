"""Other compilers."""
