"""Bodies of requests, read with a limit, and errors as answers."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from refstar.utils.errors import RefStarError

SHARED_PAGE = Path(__file__).parent / 'page'


def page_routes(folder: Path) -> list[Mount]:
    """A page's own files at `/`, and those that pages share at `/shared/`."""
    return [Mount('/shared', StaticFiles(directory=SHARED_PAGE)), Mount('/', StaticFiles(directory=folder, html=True))]


async def read_body(request: Request, largest: int, what: str) -> bytes:
    """The body of a request, at most `largest` bytes of it in memory.

    Raises:
        HTTPException: 413, it has more; 400, it was cut off.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                raise HTTPException(413, f'{what} has at most {largest / 2**20:g} MiB')
    except ClientDisconnect:
        raise HTTPException(400, f'{what} was cut off') from None
    return bytes(body)


def error_handlers(status: dict[type[Exception], int]) -> dict:
    """Errors as JSON `{"error": one line}`.

    Args:
        status: of user errors; any other :class:`RefStarError` is 400.
    """

    def user_error(_: Request, error: Exception) -> Response:
        return JSONResponse({'error': str(error)}, status.get(type(error), 400))

    def http_error(_: Request, error: Exception) -> Response:
        return JSONResponse({'error': error.detail}, error.status_code, error.headers)

    def broken(_: Request, error: Exception) -> Response:  # starlette raises it again: the terminal shows it
        message = f'something went wrong ({type(error).__name__}); the terminal of the server says what'
        return JSONResponse({'error': message}, 500)

    return {RefStarError: user_error, HTTPException: http_error, Exception: broken}
