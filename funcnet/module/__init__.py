"""The one idea: descriptions that become pure functions and plain parameter pytrees."""
