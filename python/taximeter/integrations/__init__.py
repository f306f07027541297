"""Attribution by request in web frameworks, one file each."""
