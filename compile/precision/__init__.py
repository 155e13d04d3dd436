"""Lower precisions of a typed ONNX graph: fp16 by ModelOpt's AutoCast, int8 by Q/DQ, and the layers that stay fp32.

``fp16`` and ``int8`` make a :class:`.lowering.Lowering` (which layers are meant, and how a graph is built with some of
them kept), ``layers`` measures what each layer costs alone, ``mixed`` keeps the fewest that have to be, ``gap`` is how
far an answer is from fp32. ``precision_steps.lower`` is all of it, in a worker.
"""
