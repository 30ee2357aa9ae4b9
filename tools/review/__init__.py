"""The web page of `refstar masks review`: its server, and the page itself."""
