"""From samples to batches to devices: `DataLoader` and what it is made of."""
