"""A model of Triton's Python backend: output__0 = FACTOR * input__0."""

import triton_python_backend_utils as pb

FACTOR = 2


class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb.get_input_tensor_by_name(request, "input__0").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("output__0", array * FACTOR)]) for array in inputs]
