"""The comparison: bounds, rivals, our rounds and their ablations, with the same data, net and training budget."""
