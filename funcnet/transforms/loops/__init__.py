"""One function over many inputs: side by side, or one after another."""
