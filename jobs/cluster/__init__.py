"""Phases as Jobs of a Kubernetes cluster: what `selfsyn round` does on one machine, with a coordinator in its place.

It lives under jobs/ because it is a way to run them: it knows phases, verbs and images, and nothing of learning. Steps and
manifests are pure functions; only `api` talks to a cluster. Nothing here imports torch.
"""
