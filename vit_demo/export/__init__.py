"""A model for use without this program: ONNX in fp32 and int8."""
