"""The client families, one file each. A file is imported when its client is. `FAMILY` defines which modules to hook and how."""
