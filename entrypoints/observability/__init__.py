"""What operators see of a running registry: health, metrics, traces, profiles."""
