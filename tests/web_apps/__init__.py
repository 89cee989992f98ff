"""Small applications for the real servers of test_web_servers.py: one in Flask, one in Django.

`/chat?upstream=URL&q=QUESTION` passes an answer on, `/ping` answers at once.
"""
