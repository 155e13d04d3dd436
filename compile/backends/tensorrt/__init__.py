"""TensorRT: a typed ONNX graph to an engine, here or (by TensorRT-RTX, without a GPU) as a preflight for one elsewhere.

``engine.py`` parses and builds with the module that it is given, ``tensorrt`` or ``tensorrt_rtx``; ``protocol.py`` is
what it asks of either; ``preflight_script.py`` runs it in an environment that has TensorRT-RTX and nothing of ours;
``profiles.py`` makes optimization profiles of batch sizes; ``candidate.py`` and ``nets.py`` make
artifacts of it. Whether a plan may run on a machine is :mod:`millwork.values.tensorrt_plan`'s to say.
"""
