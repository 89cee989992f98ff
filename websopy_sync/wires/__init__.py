"""The formats that services speak, a file each. Field names of a service stand only in its file."""
