"""Parameters that are zero: which, how they stay so, and how their arrays become smaller."""
