"""What a step costs before it runs: its memory and its communication, read from the compiled program."""
