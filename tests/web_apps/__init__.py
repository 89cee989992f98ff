"""Small applications for the real servers of test_web_servers.py: in Flask, Django and FastAPI.

`/chat?upstream=URL&q=QUESTION` passes an answer on, `/ping` answers at once;
`/threads` (under ASGI) counts those that pass an answer on.
"""
