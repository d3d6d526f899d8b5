"""The comparison: the same data, net and budget for rivals, bounds, our own rounds, and our rounds with one lever off."""
