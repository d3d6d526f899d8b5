"""The teacher as a product: its contract, the export, the parity check against torch, the runtime and the service."""
