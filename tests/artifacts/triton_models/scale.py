"""A model for the python backend that multiplies by the number in factor.txt beside it."""

from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self.factor = float((folder / "factor.txt").read_text())

    def execute(self, requests: list[object]) -> list[object]:
        return [self.answer(request) for request in requests]

    def answer(self, request: object) -> object:
        x = pb_utils.get_input_tensor_by_name(request, "input__0").as_numpy()
        y = (x * self.factor).astype("float32")
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("output__0", y)])
