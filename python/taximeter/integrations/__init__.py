"""Attribution by request for web frameworks, one file each."""
