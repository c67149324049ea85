"""Making one model of another: its layers and arrays, layers of derived classes, arrays that are computed."""
