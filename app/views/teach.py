"""For teachers: links to send, a lesson plan, and how to run one machine for a class, read-only or behind a proxy."""

from urllib.parse import urlencode

import streamlit as st
import widgets
from lessons import LESSONS, PAGES, PARTS, STEPS

import ffcore

NGINX = """location /ff/ {
    proxy_pass http://127.0.0.1:8501;        # no path here: /ff/ is passed on as it is
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;        # unchanged, or the WebSocket is refused
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_read_timeout 1d;                   # a quiet page is not a dead one
}"""
CADDY = """class.example.org {
    redir /ff /ff/
    reverse_proxy /ff/* 127.0.0.1:8501
}"""


def base() -> str:
    """The dashboard's own address, without a page."""
    url = (st.context.url or "http://localhost:8501/teach").split("?")[0].rstrip("/")
    return url.removesuffix("/teach")


def make_link() -> str:
    """The address of a lesson's step, or of a page with parts of it left out."""
    what = widgets.choose(
        st.segmented_control, "Send to", "to", {"lesson": "a lesson", "page": "a page"}, "lesson", "teach.to", required=True
    )
    lessons = {name: lesson.title for name, lesson in LESSONS.items()}
    if what == "lesson":
        one, two = st.columns(2)
        with one:
            name = widgets.choose(st.selectbox, "Lesson", "name", lessons, "goodness", "teach.name")
        with two:
            step = widgets.choose(st.selectbox, "Step", "at", STEPS, "predict", "teach.at")
        return f"{base()}/lessons?{urlencode({'lesson': name, 'step': step})}"
    one, two, three = st.columns(3)
    with one:
        page = widgets.choose(st.selectbox, "Page", "page", PAGES, "start", "teach.page")
    with two:
        known = PARTS.get(page, {})
        parts = widgets.several(st.multiselect, "Leave out", "parts", known, [], format_func=known.get, placeholder="nothing")
    with three:
        back = widgets.choose(st.selectbox, "Leads back to", "back", {"none": "no lesson", **lessons}, "none", "teach.back")
    query = {"hide": ",".join(parts)} if parts else {}
    query |= {"lesson": back} if back != "none" else {}
    return f"{base()}/{'' if page == 'start' else page}" + (f"?{urlencode(query, safe=',')}" if query else "")


st.title("For teachers")
st.markdown(
    "Eight lessons of about ten minutes, one machine for the whole class, and links that open just what you mean. Nobody needs "
    "an "
    "account, a data set or the network."
)
with st.container(border=True):
    st.markdown("**Make a link**")
    link = make_link()
    st.code(link, language=None, wrap_lines=True)
    st.caption(
        "Copy it with the button at its right end. Whoever opens it can still go everywhere; hidden parts can be shown again."
    )

st.header("Lesson plan")
lines = "\n".join(
    f"| {i} | [{lesson.title}](lessons?lesson={name}) | {lesson.minutes} | {lesson.teaser} |"
    for i, (name, lesson) in enumerate(LESSONS.items(), 1)
)
st.markdown(f"| | lesson | minutes | question |\n|---|---|---|---|\n{lines}")
st.caption(
    f"Together {sum(lesson.minutes for lesson in LESSONS.values())} minutes; 1 to 4 make a first hour, 5 to 8 a second. Let "
    f"everybody predict "
    "before anybody runs, and have the question talked over in pairs. The last two train nets; the others only look, move and "
    "count."
)

st.header("Before the class")
st.markdown(
    """
1. On the machine: `pip install 'ffcore[app]'`, then `ffcore doctor` says whether all is there. The lessons use what comes with
   the package; for MNIST itself, train once with `ffcore train --data mnist`, which fetches it.
2. Decide who may train. **Everybody:** start with the first line below; the queue keeps order. **Nobody:** with the second.
3. Try one link of yours on one of the class's computers.
"""
)
st.code(
    "ffcore app --host 0.0.0.0                 # all of the class's network sees it, and may train, change and delete\n"
    "ffcore app --host 0.0.0.0 --read-only     # all of it sees it, nobody changes anything",
    language="bash",
    wrap_lines=True,
)
places = ffcore.places()
st.markdown(
    f"""
**Read-only** means that nothing is started, paused, tagged, imported, downloaded or deleted through this server, whatever a
page offers: the library refuses, in a line that says so. Stored runs, studies, sliders and the bundled nets all work. Two
servers may share one runs folder: yours with everything, at 127.0.0.1, and a read-only one for the class.

**The queue.** A training is a process of its own and outlives a closed tab. On processors as many train at once as there are
pairs of cores; **on this machine {places}**. The others wait, first come, first served, and their page says at which place.
Each GPU is one more place. `taskset -c 0-7 ffcore app` gives the server and its trainings eight cores and no more.

**How many students?** Looking needs no place in the queue; training takes one for as long as it lasts. Everybody at once on a
lesson that trains makes a queue, so let pairs share a run, or have one training on the projector: an experiment of a lesson is
found again by whoever opens the lesson next. The more pages watch one training, the more seldom each looks: ten of them about
every 1.2 seconds, thirty every 3.6. No figure is given for this machine, as none was measured on it.

**No accounts.** Whoever reaches the server sees all of it. Keep it in your own network, or behind a proxy that asks for a
log-in.
"""
)

st.header("Behind a proxy")
st.markdown(
    "Serve it under a path of its own, on the machine itself, and let the proxy do encryption and log-in. The dashboard speaks "
    "over "
    "one WebSocket for each viewer, `/ff/_stcore/stream`: the proxy has to let it through, and to pass the host name on "
    "unchanged, by "
    "which Streamlit knows that page and socket belong together. Its protection against foreign sites then stays on."
)
st.code("ffcore app --base-path ff --read-only", language="bash", wrap_lines=True)
left, right = st.columns(2, gap="medium")
left.markdown("nginx")
left.code(NGINX, language="nginx", wrap_lines=True)
right.markdown("Caddy (passes WebSockets and host on by itself)")
right.code(CADDY, language=None, wrap_lines=True)
st.caption(
    "If pages stay empty and the browser's console says that a WebSocket failed, the proxy has swallowed the Upgrade header or "
    "changed the host. Of a foreign host name Streamlit asks a service on the internet for this machine's own address; with "
    "the host "
    "passed on unchanged it does not."
)
widgets.share("ffcore app --host 0.0.0.0 --read-only", "import ffcore\nffcore.app(host='0.0.0.0', read_only=True)")
widgets.explain(
    """
**A link holds a view.** Every page keeps what you chose in its address, so a link made by *Share and repeat* opens just that.
`?hide=` leaves out parts of a page that a beginner need not see, and `?lesson=` puts a line above a page that leads back to the
lesson. Nothing is locked by it: the line has a button that shows everything again.
"""
)
