"""The artifact as export writes it: the folder with its manifest, and the model card."""
