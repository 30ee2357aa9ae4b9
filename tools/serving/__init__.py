"""What the local web pages share: how they are served, who may talk to them, brush and PNG files in the browser."""
