"""Export: from a checkpoint to a validated artifact. Importable without torch and onnx; its modules are not."""
