"""`refstar app` with many users: each gets the own pictures, in turn, within limits."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from helpers.app_serving import GOOD, ONE, Running, User, file_of, new_user, raw, restored, small_restorer, wait_for
from helpers.restoring import SIZE, picture

from refstar.tools.webapp.limits import Limits
from refstar.tools.webapp.queue import Busy, Queue
from refstar.tools.webapp.sessions import Ended, Full, Sessions, Upload

UPLOAD = Upload('a.png', False, {})


def test_twenty_users_at_once_get_their_own():
    def images(number: int) -> tuple[np.ndarray, np.ndarray]:
        return picture(100 + number, 72, ONE, number % 3), picture(200 + number, SIZE, SIZE, number % 3)

    def use(number: int) -> tuple[User, np.ndarray, list]:
        photo, ref = images(number)
        user = User(http, running.url)
        together.wait()
        user.give('photo', photo, f'{number}.png')
        user.give('references', ref, f'ref {number}.png')
        seen = [user.done('GET', '/api/line')['ahead']]
        for strength in (0.3, 0.6, 1.0):
            version = user.restore(strength=strength)['shown']['version']
        seen += [user.picture(f'pictures/{version}/before'), user.picture('pictures/reference/1-0')]
        return user, user.picture('result.png'), seen

    together, restorer = threading.Barrier(20), small_restorer()
    with Running(small_restorer()) as running, httpx2.Client(base_url=running.url, timeout=120) as http:
        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(use, range(20)))
        assert len({result.tobytes() for _, result, _ in found}) == 20
        for number, (user, result, seen) in enumerate(found):
            photo, ref = images(number)
            assert np.array_equal(result, restored(photo, [ref], restorer))
            assert np.array_equal(seen[2], ref) and seen[0] is None
            assert user.done('GET', '/api/session')['photo']['name'] == f'{number}.png'
            other = found[number - 1][0]
            version = user.done('GET', '/api/session')['shown']['version']
            mine, theirs = (one.picture(f'pictures/{version}/before') for one in (user, other))
            assert np.array_equal(mine, seen[1]) and not np.array_equal(mine, theirs)


def test_the_place_in_line_is_told_and_who_leaves_is_passed_over(monkeypatch):
    restorer = small_restorer()
    run, began, go, ran = restorer.engine.run, threading.Event(), threading.Event(), []

    def slow(plans, settings):
        began.set()
        assert go.wait(60)
        ran.append(settings.fidelity)
        return run(plans, settings)

    with (
        Running(restorer, Limits(waiting=1, queue=4)) as running,
        httpx2.Client(base_url=running.url, timeout=120) as http,
    ):
        users = [User(http, running.url) for _ in range(4)]
        for user in users:
            user.give('photo', GOOD)
        monkeypatch.setattr(restorer.engine, 'run', slow)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(users[0].restore)]
            assert began.wait(60)
            leaver = socket.create_connection(('127.0.0.1', running.port))
            leaver.sendall(raw('POST', '/api/restore', running, b'{}', users[1]))
            wait_for(lambda: users[1].done('GET', '/api/line') == {'ahead': 1})
            asked.append(pool.submit(users[2].restore))
            wait_for(lambda: users[2].done('GET', '/api/line') == {'ahead': 2})
            asked.append(pool.submit(users[3].restore))
            wait_for(lambda: users[3].done('GET', '/api/line') == {'ahead': 3})
            late = User(http, running.url).ask('POST', '/api/photo', content=GOOD)
            assert late.status_code == 503 and 'are in line' in late.json()['error']
            busy = users[2].ask('POST', '/api/restore', content=b'{}')
            assert busy.status_code == 429 and 'wait for them' in busy.json()['error']
            leaver.close()
            wait_for(lambda: users[1].done('GET', '/api/line') == {'ahead': None})
            assert users[2].done('GET', '/api/line') == {'ahead': 1}
            go.set()
            assert all(future.result()['shown'] for future in asked)
        assert len(ran) == 3 and users[1].done('GET', '/api/session')['shown'] is None


# ------------------------------------------------------------------ sessions and the line
def test_sessions_expire_and_make_room():
    now = [0.0]
    ended: list = []
    sessions = Sessions(Limits(sessions=3, minutes=1), ended.append, lambda: now[0])
    first, second = sessions.create(), sessions.create()
    for token in (first, second):
        sessions.get(token).uploads[1] = UPLOAD  # in use
    now[0] = 50
    sessions.get(second)
    third = sessions.create()
    assert sessions.create() != third and len(sessions) == 3  # the unused one made room
    with pytest.raises(Ended):
        sessions.get(third)
    now[0] = 61
    with pytest.raises(Ended, match='1 minutes without use'):
        sessions.get(first)
    assert sessions.get(second)
    sessions.sweep()
    assert len(sessions) == 2 and [bool(session.uploads) for session in ended] == [False, True]
    sessions = Sessions(Limits(sessions=1), ended.append, lambda: now[0])
    sessions.get(sessions.create()).uploads[1] = UPLOAD
    with pytest.raises(Full, match='all places are taken'):
        sessions.create()


def test_the_network_keeps_nothing_of_what_is_gone():
    restorer = small_restorer()
    user, other = (new_user(restorer) for _ in range(2))
    for one in (user, other):
        one.give('photo', GOOD)
        one.give('references', picture(2, SIZE, SIZE, 0))
        one.restore()
    user.done('PUT', '/api/masks/1-0', content=file_of(np.full((SIZE, SIZE), 255, np.uint8)))
    user.restore()
    user.give('references', picture(3, SIZE, SIZE, 0))
    user.restore()
    kept = restorer.engine._encoded
    assert len(kept) == 4 and all(ref.encoded is not None for ref in kept)
    user.done('DELETE', '/api/references/1')
    assert len(restorer.engine._encoded) == 2  # with the mask by hand, and without
    user.done('DELETE', '/api/session')
    wait_for(lambda: len(restorer.engine._encoded) == 1)
    assert restorer.engine._encoded[0].encoded is not None
    assert [ref.encoded is None for ref in kept].count(True) == 3


def test_the_line_is_first_come_first_served():
    queue, go, order = Queue(longest=4, each=2), threading.Event(), []
    first = queue.submit('a', go.wait, 60)
    others = [queue.submit(owner, order.append, number) for number, owner in enumerate('bac')]
    assert [queue.ahead(owner) for owner in 'abcd'] == [0, 1, 3, None]
    with pytest.raises(Full):
        queue.submit('d', order.append, 9)
    others[0].cancel()
    with pytest.raises(Busy):
        queue.submit('a', order.append, 9)
    failing = queue.submit('b', lambda: 1 / 0)
    go.set()
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    assert first.result() and order == [1, 2]
    wait_for(lambda: queue.ahead('b') is None)
    queue.close()
