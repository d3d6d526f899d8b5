"""Is a run ready? Checks of its data, configuration and machine that find every fault before training starts.

Never imports torch: selfsyn.doctor.speed does, in another process.
"""
