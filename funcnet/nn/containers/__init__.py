"""Modules that hold other modules or parameters."""
