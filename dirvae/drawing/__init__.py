"""Charts, strips, spectrograms and players, as SVG, PNG and HTML elements."""
