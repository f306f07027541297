"""What the interfaces of the five SDKs share."""
