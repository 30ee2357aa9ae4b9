"""The page of `refstar app`: its sessions, its queue, its server, and the page itself."""
