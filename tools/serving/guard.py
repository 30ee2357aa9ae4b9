"""Who may talk to a local server: the page that it served itself, and nobody else."""

import hmac
import ipaddress
import json
from urllib.parse import parse_qs, urlsplit

LOOPBACK = ('localhost', '127.0.0.1', '::1')
HEADERS = {  # with every answer: nothing from elsewhere is loaded, nobody frames the page, nothing is kept
    'content-security-policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
}


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach that host."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that refuses requests of other origins.

    A page of another site can make the browser of this machine send requests here, and can give its own name this
    machine's address (DNS rebinding). So the name asked for must be ours, and what browsers say about the origin of a
    request must agree with it; a request that changes something must say its origin.

    Args:
        app: the application.
        host: name or address the server listens on, besides the names of the loopback.
        token: secret that opens the page (`/?token=...`, then a cookie); None for none.
        name: of the server, for its cookie and its messages.
    """

    def __init__(self, app, host: str, token: str | None, name: str):
        self.app, self.name = app, name
        self.hosts = {*LOOPBACK, host.lower()}
        self.token = token

    async def __call__(self, scope, receive, send) -> None:
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        async def send_guarded(message) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        headers: dict[str, list[str]] = {}
        for key, value in scope['headers']:
            headers.setdefault(key.decode('latin-1'), []).append(value.decode('latin-1'))
        refusal = self._refusal(scope['method'], headers)
        cookie = f'refstar_{self.name}_{(scope.get("server") or ("", 0))[1]}'
        if not refusal and self.token is not None and not self._knows(headers, cookie):
            given = parse_qs(scope['query_string'].decode('latin-1')).get('token', [''])[0]
            if scope['path'] == '/' and self._is_token(given):
                value = f'{cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict'
                await _answer(send_guarded, 303, '', {'location': '/', 'set-cookie': value})
                return
            refusal = 'the token is missing or wrong: open the address that the command printed'
        if refusal:
            await _answer(send_guarded, 403, refusal, {})
            return
        await self.app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: dict[str, list[str]]) -> str:
        """Why the request is refused; '' if it is not."""
        hosts, origins = headers.get('host', []), headers.get('origin', [])
        try:
            name = urlsplit(f'//{hosts[0]}').hostname if len(hosts) == 1 else None
        except ValueError:
            name = None
        if name not in self.hosts:
            return f'this name is not that of the {self.name} server: open the address that the command printed'
        if origins and origins != [f'http://{hosts[0]}']:
            return f'requests from {origins[0]} are refused: open the address that the command printed'
        if method not in ('GET', 'HEAD') and not origins:
            return 'a request that changes something must come from the page (header Origin)'
        if not set(headers.get('sec-fetch-site', [])) <= {'same-origin', 'none'}:
            return 'requests of other sites are refused: type the address that the command printed'
        return ''

    def _knows(self, headers: dict[str, list[str]], cookie: str) -> bool:
        pairs = (pair.strip().partition('=') for line in headers.get('cookie', []) for pair in line.split(';'))
        return any(key == cookie and self._is_token(value) for key, _, value in pairs)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


async def _answer(send, status: int, message: str, headers: dict[str, str]) -> None:
    body = json.dumps({'error': message}).encode() if message else b''
    headers = {'content-type': 'application/json', 'content-length': str(len(body)), **headers}
    raw = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({'type': 'http.response.start', 'status': status, 'headers': raw})
    await send({'type': 'http.response.body', 'body': body})
