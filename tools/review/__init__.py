"""The web page of `refstar masks review`: its server, who may talk to it, and the page itself."""
