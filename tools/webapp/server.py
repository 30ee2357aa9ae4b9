"""The web application of `refstar app`: sessions by a secret in a header, work in line, pictures by name."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from refstar.restore.restorer import Restorer

from ..serving.answers import error_handlers, page_routes, read_body
from ..serving.guard import Guard
from . import state
from .limits import Limits
from .queue import Busy, Queue
from .sessions import Absent, Ended, Full, Session, Sessions
from .wish import name_of, wish_of
from .workbench import Workbench

PAGE = Path(__file__).parent / 'page'
HEADER = 'x-session'  # a page of another site cannot set it
STATUS = {Ended: 410, Full: 503, Absent: 404, Busy: 429}  # any other user error: 400
UPLOADS = 8  # files being read or in line at a time, each in memory; the others wait
SLOWEST = 60.0  # seconds that a file may take to arrive
LARGEST_WISH, LARGEST_MASK = 2**16, 8 * 2**20
SWEEP = 20.0  # seconds between looks for expired sessions


class Server:
    """What the requests are answered from.

    Args:
        restorer: opened networks.
        limits: of the page.
        network: name of the network's file.
    """

    def __init__(self, restorer: Restorer, limits: Limits, network: str) -> None:
        self.limits, self.queue = limits, Queue(limits.queue, limits.waiting)
        self.sessions = Sessions(limits, lambda session: self.queue.later(self.bench.forget, session))
        self.bench = Workbench(restorer, limits, self.sessions.check_room, network)
        self.about = state.about(restorer, limits)
        self.uploads = asyncio.Semaphore(UPLOADS)

    @asynccontextmanager
    async def lifespan(self, _: Starlette):
        """Sweeps expired sessions out while the server runs."""

        async def sweep() -> None:
            while True:
                await anyio.sleep(SWEEP)
                self.sessions.sweep()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sweep)
            yield
            tasks.cancel_scope.cancel()
        self.queue.close()

    # ----------------------------------------------------------------- sessions
    async def open(self, _: Request) -> Response:
        return JSONResponse({'session': self.sessions.create(), 'about': self.about}, 201)

    async def close(self, request: Request) -> Response:
        self.session(request)
        self.sessions.drop(self.token(request))
        return JSONResponse({})

    async def look(self, request: Request) -> Response:
        session = self.session(request)
        return JSONResponse((session.state or state.state_of(session)) | {'about': self.about})

    async def line(self, request: Request) -> Response:
        self.session(request)
        return JSONResponse({'ahead': self.queue.ahead(self.token(request))})

    def token(self, request: Request) -> str:
        return request.headers.get(HEADER, '')

    def session(self, request: Request) -> Session:
        return self.sessions.get(self.token(request))

    async def work(self, request: Request, function: Callable, *args: Any) -> Any:
        """Puts a function in line and waits for it; who has gone away is taken out of the line."""
        self.session(request)  # while the request came in it may have ended
        waiting = asyncio.wrap_future(self.queue.submit(self.token(request), function, *args))
        while not (await asyncio.wait({waiting}, timeout=1))[0]:
            if await request.is_disconnected():
                waiting.cancel()
                raise HTTPException(400, 'the browser has gone away')
        return waiting.result()

    # ----------------------------------------------------------------- what the user gives
    async def photo(self, request: Request) -> Response:
        return await self.upload(request, self.bench.take_photo, 'photo')

    async def reference(self, request: Request) -> Response:
        return await self.upload(request, self.bench.take_reference, 'reference', False)

    async def stranger(self, request: Request) -> Response:
        return await self.upload(request, self.bench.take_reference, 'stranger', True)

    async def upload(self, request: Request, function: Callable, usual: str, *args: Any) -> Response:
        session, name = self.session(request), name_of(request.query_params.get('name', ''), usual)
        async with self.uploads:  # until the file's turn in line: the files in memory are never more than `UPLOADS`
            data = await self.body(request, self.limits.upload, 'a picture')
            return JSONResponse(await self.work(request, function, session, name, data, *args))

    async def body(self, request: Request, largest: int, what: str) -> bytes:
        try:
            with anyio.fail_after(SLOWEST):
                return await read_body(request, largest, what)
        except TimeoutError:
            raise HTTPException(408, f'{what} took more than {SLOWEST:g} seconds to arrive') from None

    async def remove(self, request: Request) -> Response:
        session = self.session(request)
        return JSONResponse(
            await self.work(request, self.bench.remove_reference, session, request.path_params['number'])
        )

    async def mask(self, request: Request) -> Response:
        session, key = self.session(request), request.path_params['key']
        data = None
        if request.method == 'PUT':
            data = await self.body(request, LARGEST_MASK, 'a mask')
        return JSONResponse(await self.work(request, self.bench.edit_mask, session, key, data))

    async def restore(self, request: Request) -> Response:
        session = self.session(request)
        wish = wish_of(await self.body(request, LARGEST_WISH, 'a request'))
        return JSONResponse(await self.work(request, self.bench.restore, session, wish))

    # ----------------------------------------------------------------- what the user gets
    async def result(self, request: Request) -> Response:
        session = self.session(request)
        return Response(await self.work(request, self.bench.picture, session), media_type='image/png')

    async def record(self, request: Request) -> Response:
        session = self.session(request)
        return Response(await self.work(request, self.bench.record, session), media_type='application/json')

    def preview(self, request: Request) -> Response:
        photo = self.session(request).photo
        if photo is None:
            raise Absent('there is no photo yet')
        return Response(photo.preview, media_type='image/jpeg')

    def picture(self, make: Callable[..., bytes], request: Request) -> Response:
        session = self.session(request)
        return Response(make(session, **request.path_params), media_type='image/png')

    def routes(self) -> list[Route]:
        def post(path: str, function: Callable, method: str = 'POST') -> Route:
            return Route(path, function, methods=[method])

        return [
            post('/api/session', self.open),
            post('/api/session', self.close, 'DELETE'),
            Route('/api/session', self.look),
            Route('/api/line', self.line),
            post('/api/photo', self.photo),
            post('/api/references', self.reference),
            post('/api/strangers', self.stranger),
            post('/api/references/{number}', self.remove, 'DELETE'),
            Route('/api/masks/{key}', self.mask, methods=['PUT', 'DELETE']),
            post('/api/restore', self.restore),
            Route('/api/result.png', self.result),
            Route('/api/record.json', self.record),
            Route('/api/pictures/photo', self.preview),
            Route('/api/pictures/reference/{key}', partial(self.picture, state.reference_png)),
            Route('/api/pictures/{version}/{arm}', partial(self.picture, state.arm_png)),
            Route('/api/pictures/{version}/mask/{key}', partial(self.picture, state.mask_png)),
        ]


def web_app(
    restorer: Restorer, limits: Limits, network: str, host: str = '127.0.0.1', token: str | None = None
) -> Starlette:
    """The application.

    Args:
        restorer: opened networks.
        limits: what it takes.
        network: name of the network's file, for records.
        host: name or address it is reached by, besides the loopback's.
        token: secret that a browser has to show, None for none.
    """
    server = Server(restorer, limits, network)
    return Starlette(
        routes=[*server.routes(), *page_routes(PAGE)],
        middleware=[Middleware(Guard, host=host, token=token, name='app')],
        exception_handlers=error_handlers(STATUS),
        lifespan=server.lifespan,
    )
