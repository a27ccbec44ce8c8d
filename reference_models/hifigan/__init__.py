"""HiFi-GAN: mel to audio in one pass of transposed convolutions and residual blocks."""
