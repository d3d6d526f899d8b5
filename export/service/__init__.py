"""The teacher over HTTP: the Open Inference Protocol v2, pictures in and labels out, and a page. Never imports torch.

limits    what a request may cost           tensors   infer requests and responses, JSON and binary
refusals  error responses                   forms     the picture in a body or a form
bodies    reading, unpacking, packing       pictures  JPEG and PNG in; labels, overlays and numbers out
front     counts and times each response    batches   batching of waiting requests
models    the version that is served        metrics   for Prometheus
routes    the application                   admission limits on concurrent requests and on time
server    socket, HTTP connections, shutdown
"""
