"""The register-tile generators: matrix products whose sums stay in registers."""
