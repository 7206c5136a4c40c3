"""Which models there are: one small TOML file per system, the lookup, the download."""
