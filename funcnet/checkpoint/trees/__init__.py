"""Whole pytrees in a file: their arrays by dotted name, and their structure as JSON."""
