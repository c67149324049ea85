"""Portable programs: how functions become them, what they say of themselves, how they are run and compared."""
