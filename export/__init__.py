"""Export: from a checkpoint to a validated artifact. The package alone is imported without torch and onnx."""
