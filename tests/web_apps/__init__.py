"""Small applications for the real servers of test_web_servers.py: in Flask, Django and FastAPI.

`/chat?upstream=URL&q=QUESTION` passes on an answer that the view has opened, `/opening-chat` one
that the body opens, `/waiting-chat` too, after it has waited for the service's status.
`/kept-chat` passes on one that a relay keeps.
`/stop?q=QUESTION` stops one of the last two. `/ping` answers at once; `/threads` (under ASGI)
counts those that pass an answer on.
"""
