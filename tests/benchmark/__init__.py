"""The project's own benchmark, run by `make bench`: published models against stock exports and other backends."""
