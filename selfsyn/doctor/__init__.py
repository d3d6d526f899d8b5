"""Is a run ready to begin? All that is wrong with its data, configuration and machine, found before hours are spent.

Never imports torch: what needs it is measured in another process (selfsyn.doctor.speed).
"""
