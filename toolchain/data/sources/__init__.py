"""Where faces come from: one file a format, all behind `efq.toolchain.data.sources.registry.open_source`."""
