"""Code that the interfaces of the five SDKs share."""
