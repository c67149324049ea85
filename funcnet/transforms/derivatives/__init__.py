"""First derivatives: gradients, Jacobians, products, and derivatives set by hand."""
