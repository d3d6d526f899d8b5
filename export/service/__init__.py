"""The teacher over HTTP: the Open Inference Protocol v2, pictures in and labels out, and a page. Never imports torch.

limits    what a request may cost           tensors   infer requests and answers, JSON and binary
refusals  an answer that is an error        forms     the picture in a body or a form
bodies    reading, unpacking, packing       pictures  JPEG and PNG in; labels, overlays and numbers out
front     each answer is counted            batches   requests of one size, answered together
models    the version that is served        metrics   what Prometheus sees
routes    the application                   admission who is let in, and for how long
server    the socket, the protocol's edge, the end
"""
