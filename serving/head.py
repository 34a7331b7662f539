"""The head of a request: read in linear time, and bounded."""

from __future__ import annotations

import re
import uuid
from typing import Any

from gunicorn.http import message
from gunicorn.http.errors import LimitRequestHeaders

from serving.request_id import request_id

# An id of 500 characters in the path and a name of 1,000 in the query, each up to 12 bytes (%F0%9F%91%A9),
# are 18,000 bytes. nginx has the same bound in deploy/; gunicorn's own cannot be more than 8,190.
LONGEST_LINE = 32 * 1024
COMPLETE = re.compile(rb"\r\n\r\n|(?<!\r)\n")  # a bare line feed: gunicorn refuses it
NAMED = re.compile(rb"(?im)^x-request-id:[ \t]*([a-z0-9._:-]{1,128})[ \t]*\r$")


class Request(message.Request):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's, but gunicorn itself goes through all that has come with each piece that comes."""

    def parse(self, unreader: Any) -> bytes:
        """Read the head; return what has come after it.

        Raises:
            ParseException: it is not valid, or too large.
        """
        self.limit_request_line: int = self.limit_request_line or LONGEST_LINE
        head, searched, too_large = bytearray(), 0, False
        while not COMPLETE.search(head, searched) and (piece := unreader.read()):
            searched = max(len(head) - len(b"\r\n\r"), 0)
            head += piece
            longest = self.limit_request_line + len(b"\r\n\r\n")  # an empty line may come before it
            if len(head) > longest and head.find(b"\n", len(b"\r\n"), longest) < 0:
                break  # gunicorn refuses the line
            if too_large := len(head) > longest + self.max_buffer_headers:
                break
        sent = NAMED.search(head)
        request_id.set(sent[1].decode("ascii") if sent else uuid.uuid4().hex)  # should it be refused
        if too_large:
            raise LimitRequestHeaders("max buffer headers")
        unreader.unread(bytes(head))
        data: bytes = super().parse(unreader)
        return data
