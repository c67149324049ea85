"""Learning-rate schedules: pure functions ``step -> value``."""
