"""Headers of requests that no local page of ours (at http://127.0.0.1:8411) may answer."""

REFUSED = {
    'another site': {'Origin': 'http://evil.example'},
    'another port': {'Origin': 'http://127.0.0.1:9999'},
    'another scheme': {'Origin': 'https://127.0.0.1:8411'},
    'a sandboxed frame': {'Origin': 'null'},
    'a page that hides its origin': {'Origin': None},
    'another site, as the browser says': {'Sec-Fetch-Site': 'cross-site'},
    'a neighbour, as the browser says': {'Sec-Fetch-Site': 'same-site'},
    'a rebound name': {'Host': 'evil.example:8411', 'Origin': 'http://evil.example:8411'},
    'a name that begins like ours': {'Host': '127.0.0.1.evil.example', 'Origin': 'http://127.0.0.1.evil.example'},
    'ours as a user name': {'Host': '127.0.0.1@evil.example', 'Origin': 'http://127.0.0.1@evil.example'},
    'no name': {'Host': '', 'Origin': 'http://'},
    'a broken name': {'Host': '[::1', 'Origin': 'http://[::1'},
}
