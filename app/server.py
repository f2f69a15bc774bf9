"""The dashboard's server: Streamlit's own, with a first answer that tells the browser where that server is.

Streamlit's client looks for its server below the page's address before it looks at the root, which costs every
visitor of a page's own address two requests, and the browser's console two errors.
"""

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse

ROOT = '<script>window.__streamlit = {BACKEND_BASE_URL: new URL(".", document.baseURI).href}</script>'
SHELL = (Path(st.__file__).parent / "static" / "index.html").read_text("utf-8").replace("<head>", f"<head>\n    {ROOT}", 1)


class Pages:
    """Answers a page's address, `/` or one word below the base path, and passes everything else on to Streamlit."""

    def __init__(self, app):
        self.app = app
        self.page = re.compile(re.escape("/" + st.get_option("server.baseUrlPath").strip("/")).rstrip("/") + "/[a-z]*")

    async def __call__(self, scope, receive, send):
        page = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and self.page.fullmatch(scope["path"])
        await (HTMLResponse(SHELL, headers={"Cache-Control": "no-cache"}) if page else self.app)(scope, receive, send)


app = st.App(Path(__file__).parent / "main.py", middleware=[Middleware(Pages)])

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
        app.run(config=json.loads(sys.argv[1]))
