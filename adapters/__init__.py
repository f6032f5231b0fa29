"""What the ports stand on: one technology per module, and none that knows another."""
