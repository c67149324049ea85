"""Text to tokens, and tokens to rows."""
