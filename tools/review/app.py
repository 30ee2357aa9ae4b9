"""The web application of `refstar masks review`: the page, the pictures, the decisions."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from refstar.curate.mask_review import MaskReview, NotSaved, Stale
from refstar.curate.triplet_collection import SHOWN, OutsideRoot, UnknownTriplet

from ..serving.answers import error_handlers, page_routes, read_body
from ..serving.guard import Guard

PAGE = Path(__file__).parent / 'page'
LARGEST = 8 * 2**20  # bytes of a changed mask; one of 4096x4096 has about 0.3 MB
STATUS = {Stale: 409, UnknownTriplet: 404, OutsideRoot: 403, NotSaved: 507}  # any other user error: 400


def review_app(review: MaskReview, host: str = '127.0.0.1', token: str | None = None) -> Starlette:
    """The application.

    Args:
        review: what it shows and writes to.
        host: name or address it is reached by, besides the loopback's.
        token: secret that a browser has to show, None for none.
    """

    def everything(_: Request) -> Response:
        pairs = [review.summary(name) for name in review.collection.triplets]
        root = str(review.collection.root)
        return JSONResponse({'root': root, 'pairs': pairs, 'counts': review.counts(), 'notes': review.notes})

    def look(request: Request) -> Response:
        return JSONResponse({**review.look(request.path_params['name']), 'counts': review.counts()})

    def picture(request: Request) -> Response:
        name, part = request.path_params['name'], request.path_params['part']
        data = review.collection.read(name, part)
        return Response(data, media_type=SHOWN[review.collection.file(name, part).suffix.lower()])

    async def decide(request: Request) -> Response:
        if request.headers.get('content-type') != 'image/png':  # a form of another site cannot send this type
            raise HTTPException(415, 'the body of a decision must be image/png, empty if the mask was not changed')
        query = request.query_params
        try:
            action, version, seen = query['action'], int(query['version']), query['mask']
        except (KeyError, ValueError):
            raise HTTPException(400, 'a decision needs action, version (a number) and mask (its sha256)') from None
        body = await read_body(request, LARGEST, 'a mask')
        pair = await run_in_threadpool(review.decide, request.path_params['name'], action, version, seen, body)
        return JSONResponse({**pair, 'counts': review.counts()})

    return Starlette(
        routes=[
            Route('/api/pairs', everything),
            Route('/api/pairs/{name}', look),
            Route('/api/pairs/{name}', decide, methods=['POST']),
            Route('/api/pairs/{name}/{part}', picture),
            *page_routes(PAGE),
        ],
        middleware=[Middleware(Guard, host=host, token=token, name='review')],
        exception_handlers=error_handlers(STATUS),
    )
