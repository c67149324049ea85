"""From a description and its trees to an ordinary object that holds arrays, and back."""
