"""From samples to batches to devices."""
