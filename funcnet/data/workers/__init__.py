"""Who makes the batches: this thread, other threads, or processes that were never forked."""
