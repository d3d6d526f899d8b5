"""The teacher as a product: a contract, the export that makes it, the check that it is the net, the runtime that uses it."""
