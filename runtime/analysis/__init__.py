"""What audio is like by itself: levels, loudness, spectrum, tone, and checks of an output."""
