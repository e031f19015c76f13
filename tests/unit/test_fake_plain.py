"""Plain requests are read without h11: what is taken for plain is what h11 would read, and nothing odd is."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeserver import wire
from fakeserver.plain import Plain, read_plain, written

HEAD = b"PUT /v1/checkouts/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nPrefer:  wait=3 \r\n\r\n"


def by_h11(data: bytes) -> Plain | None:
    """The one whole request that h11 finds in ``data``, with nothing after it; None when there is no such."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request, body = None, b""
    try:
        while (event := connection.next_event()) is not h11.PAUSED:
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return None
    except h11.RemoteProtocolError:
        return None
    assert request is not None
    if connection.trailing_data[0] or connection.their_state is h11.MUST_CLOSE:
        return None
    return Plain(method=request.method.decode(), path=request.target.decode(), headers=tuple(request.headers), body=body)


def test_a_plain_request_is_read() -> None:
    """Names in lower case, values without the blanks around them."""
    read = read_plain(HEAD + b"{}")
    assert read == Plain(
        method="PUT", path="/v1/checkouts/a", headers=((b"host", b"x"), (b"content-length", b"2"), (b"prefer", b"wait=3")), body=b"{}"
    )
    assert read == by_h11(HEAD + b"{}")


@pytest.mark.parametrize(
    "data",
    [
        HEAD,  # its body is still to come
        HEAD + b"{",
        HEAD[:20],
        HEAD + b"{}" + HEAD,  # two of them
        HEAD.replace(b"1.1", b"1.0") + b"{}",
        HEAD.replace(b"PUT", b"PATCH") + b"{}",
        HEAD.replace(b"/a ", b"/a?b ") + b"{}",
        HEAD.replace(b"/a ", b"/%61 ") + b"{}",
        HEAD.replace(b"/a ", b"/a#b ") + b"{}",
        HEAD.replace(b"/v1", b"http://x/v1") + b"{}",
        HEAD.replace(b"Host", b"Hoost") + b"{}",
        HEAD.replace(b"Host: x", b"Host: x\r\nHost: y") + b"{}",
        HEAD.replace(b"Length: 2", b"Length: 2\r\nContent-Length: 2") + b"{}",
        HEAD.replace(b"Length: 2", b"Length: +2") + b"{}",
        HEAD.replace(b"Prefer:", b"Transfer-Encoding: chunked\r\nPrefer:") + b"{}",
        HEAD.replace(b"Prefer:", b"Expect: 100-continue\r\nPrefer:") + b"{}",
        HEAD.replace(b"Prefer:", b"Connection: close\r\nPrefer:") + b"{}",
        HEAD.replace(b"Prefer:", b"Connection: keep-alive\r\nConnection: close\r\nPrefer:") + b"{}",
        HEAD.replace(b"Prefer:", b"Upgrade: websocket\r\nPrefer:") + b"{}",
        HEAD.replace(b"Prefer:", b" folded:") + b"{}",
        HEAD.replace(b"Prefer:", b"Pre fer:") + b"{}",
        HEAD.replace(b"wait", b"w\x00it") + b"{}",
        HEAD.replace(b"\r\n", b"\n") + b"{}",
        b"",
    ],
)
def test_what_is_odd_is_left_to_h11(data: bytes) -> None:
    """In doubt it is not plain."""
    assert read_plain(data) is None


fields = st.sampled_from(
    [
        b"Host: x",
        b"host:\ty ",
        b"Content-Length: 2",
        b"content-length:2",
        b"Content-Length: 02",
        b"Content-Length: 2, 2",
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"Connection: Keep-Alive",
        b"Connection: close",
        b"Expect: 100-continue",
        b"Prefer: wait=3",
        b"X:",
        b"X: a:b",
        b"X : y",
        b": y",
        b"X: \x7f",
        b"\tX: y",
        b"X: y\r",
        b"X: \xe9",
    ]
)


@given(
    st.sampled_from([b"GET", b"PUT", b"DELETE", b"get"]),
    st.sampled_from([b"/v1/status", b"/", b"*", b"/a b", b"/\xe9", b"//x", b"/v1/x;y=%2f"]),
    st.lists(fields, min_size=1, max_size=5),
    st.sampled_from([b"", b"{}", b"{}\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"]),
)
def test_what_is_taken_for_plain_is_what_h11_reads(method: bytes, path: bytes, lines: list[bytes], rest: bytes) -> None:
    """Two readers of one connection that differ would be a way to smuggle."""
    data = method + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + rest
    plain = read_plain(data)
    assert plain is None or plain == by_h11(data)


@pytest.mark.parametrize("status", [200, 201, 202, 400, 421, 503, 599])
def test_a_reply_is_read_by_h11_as_it_was_meant(status: int) -> None:
    """Head and body leave in one piece."""
    reply = wire.write_reply(status, {"a": 1, "retry_after_s": 0.5})
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(written(reply, [(b"date", b"today")]))
    head, body, end = client.next_event(), client.next_event(), client.next_event()
    assert isinstance(head, h11.Response)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert (head.status_code, list(head.headers), body.data) == (status, [(b"date", b"today"), *reply.headers], reply.body)
