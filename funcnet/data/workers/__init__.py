"""Who does the tasks: this thread, other threads, or processes that were never forked."""
