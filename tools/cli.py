"""Console script `refstar`: dispatches to the sub-commands and imports only the one that is called."""
