"""ONNX: a model as a file for ONNX Runtime, browsers and others, compared with the function before it is kept."""
