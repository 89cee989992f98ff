"""Secrets in what a server sends back."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import each

from websopy_sync.plain_form import plain_form
from websopy_sync.redaction import MAX_TEXT, SHORTEST, Redactor
from websopy_sync.request_secrets import PIECE
from websopy_sync.secret import Secret

KEY = "sk-0123456789abcdef"

SECRETS = [
    "plain secret",
    "two\nlines",
    'a "quoted" word',
    "it's mine",
    "both ' and \"",
    "back\\slash",
    "秘密的问题",
]


def redactor_of(*prompts: str) -> Redactor:
    """A redactor after a request with these messages."""
    redactor = Redactor([Secret(KEY)])
    messages = [{"role": "user", "content": prompt} for prompt in prompts]
    redactor.watch({}, json.dumps({"messages": messages}).encode())
    return redactor


def redact(text: str, *prompts: str, name: str = "") -> str:
    """What is left of a server's text after such a request."""
    return redactor_of(*prompts)(text, name=name)


@each("secret", SECRETS)
def test_however_it_is_written(secret: str) -> None:
    """Plain, in JSON, in a URL, and in the repr of a text that holds one of these."""
    for form in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret)):
        for around in ("{}", "{{'a': \"b\", {}}}", "'{}", '"{}'):
            echo = around.format(form)
            for text in (echo, repr(echo), repr({"got": echo}), repr([echo])):
                left = redact(text, secret)
                assert "***" in left, text
                assert form.strip('"') not in left
                assert repr(form)[1:-1] not in left


def test_a_beginning_at_the_end_of_a_text() -> None:
    """What was cut off may have been the rest of it."""
    assert redact("got a long sec", "a long secret of ours") == "got ***"


def test_what_is_too_short_stays() -> None:
    """Three characters would be found in any text."""
    assert redact("the other", "the") == "the other"


# --------------------------------------------------------------------------- what protects the text

BODY = {
    "error": {
        "code": "rate_limit", "type": "rate_limit_error", "param": "rate", "requestId": "req-rate",
        "message": "rate limit of 5 reached", "errors": [{"code": "too-fast"}, None, 1.5e3, True],
    }
}  # fmt: skip


@each("prompt", ["rate", "limit", "code", "error", "message", "type", "5000"])
def test_prompt_of_one_short_word(prompt: str) -> None:
    """Only the word itself is taken out of texts; codes, names and structure stay."""
    left = json.loads(redact(json.dumps(BODY), prompt))
    expected = json.loads(json.dumps(BODY))
    words = [("***" if it == prompt else it) for it in ["rate", "limit", "of", "5", "reached"]]
    expected["error"]["message"] = " ".join(words)
    assert left == expected


def test_code_that_is_a_piece_of_the_prompt() -> None:
    """So do they when the prompt speaks of them."""
    prompt = "Why do I get rate_limit_error, and what is the field errors for?"
    assert redact(json.dumps(BODY), prompt) == json.dumps(BODY)
    assert redact("rate_limit_error", prompt, name="code") == "rate_limit_error"


@each("name", ["code", "type", "error_code", "x-request-id", "requestId", "param"])
def test_code_with_the_key_in_it(name: str) -> None:
    """Nowhere does a credential stay."""
    for echo in (KEY, f"bad-{KEY}", KEY[3:], f"invalid:{KEY[-9:]}"):
        assert KEY[-8:] not in redact(json.dumps({name: echo}))
        assert KEY[-8:] not in redact(echo, name=name)


def test_names_of_fields() -> None:
    """A key, or a sentence of the prompt, that became the name of a field goes; the others stay."""
    prompt = "what will the merger cost"
    left = json.loads(redact(json.dumps({KEY: 1, prompt: 2, "merger": 3}), prompt))
    assert list(left.values()) in ([2, 3], [1, 2, 3]) and set(left) == {"***", "merger"}


def test_numbers() -> None:
    """A number that was the prompt goes as a whole, and the body stays JSON."""
    body = '{"value": 4111111111111111, "list": [4111111111111111, 2], "n": 87654321}'
    assert json.loads(redact(body, "my card is 4111111111111111")) == {
        "value": "***", "list": ["***", 2], "n": 87654321,
    }  # fmt: skip


@pytest.mark.parametrize("body", ['{"a": ' + "1" * 5000 + ', "b": "PROMPT"}', '["PROMPT", 1e999]'])
def test_any_json(body: str) -> None:
    """Numbers of any length do not keep a body from being read as JSON."""
    prompt = "the whole secret prompt"
    left = redact(body.replace("PROMPT", prompt), prompt)
    assert left == body.replace("PROMPT", "***")


def test_json_that_is_too_deep_or_cut() -> None:
    """What cannot be read as JSON is searched as text."""
    prompt = "the whole secret prompt"
    for body in ("[" * 9_000 + f'"{prompt}"' + "]" * 9_000, f'{{"a": "{prompt}", "b'):
        assert redact(body, prompt) == body.replace(prompt, "***")


@each(
    ("echo", "left"),
    [
        ("Incorrect API key provided: sk-01***cdef.", None),
        ("key ending in cdef", None),
        (f"bad key {KEY}", "bad key ***"),
        (f"bad key {KEY[3:]}!", "bad key ***!"),
        (f"bad key {KEY[:9]}...", "bad key ***..."),
        (f"bad key ...{KEY[-8:]}", "bad key ...***"),
        (f"bad key {KEY[4:14]}", "bad key ***"),
    ],
)
def test_pieces_of_the_key(echo: str, left: str | None) -> None:
    """Eight characters of the key are too many, wherever they were cut."""
    assert redact(echo) == (echo if left is None else left)


@each(
    ("headers", "echo", "left"),
    [
        ({"Authorization": "Bearer tok_abcdefgh"}, "tok_abcdefgh", "***"),
        ({"authorization": "Bearer tok_abcdefgh"}, "Bearer tok_abcdefgh", "Bearer ***"),
        ({"Authorization": "tok_abcdefgh"}, "abcdefgh", "***"),
        ({"Authorization": "Basic YWxpY2U6aHVudGVyMi1zZWNyZXQ="}, "hunter2-secret", "***"),
        ({"Authorization": "Basic YWxpY2U6aHVudGVyMi1zZWNyZXQ="}, "aHVudGVyMi1zZWNyZXQ=", "***"),
        ({"Authorization": "Basic no base64"}, "Basic realm", "Basic realm"),
        ({"Proxy-Authorization": "Bearer tok_abcdefgh"}, "tok_abcdefgh", "***"),
        ({"X-Api-Key": "tok_abcdefgh"}, "tok_abcdefgh", "***"),
        ({"X-Auth-Token": "tok_abcdefgh"}, "tok_abcdefgh", "***"),
        ({"Cookie": "theme=dark; sid=tok_abcdefgh"}, "sid=tok_abcdefgh", "sid=***"),
        ({"X-Client-Secret": "abc123"}, "got abc123", "got ***"),
        ({"Idempotency-Key": "tok_abcdefgh"}, "tok_abcdefgh", "tok_abcdefgh"),
        ({"X-Team": "tok_abcdefgh"}, "tok_abcdefgh", "tok_abcdefgh"),
    ],
)
def test_secret_headers(headers: dict[str, str], echo: str, left: str) -> None:
    """The credentials in the user's own headers are secret, the scheme and names are not."""
    redactor = Redactor([Secret(KEY)])
    redactor.watch(headers, b"{}")
    assert redactor(echo) == left
    assert json.loads(redactor(json.dumps({"code": echo})))["code"] == left


@each("body", [
        {"messages": [{"role": "user", "content": "TEXT"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "TEXT"}]}]},
        {"system": "TEXT"},
        {"note": "TEXT"},
        {"metadata": {"a": [{"b": ["TEXT"]}]}},
        {"messages": [{"tool_calls": [{"function": {"name": "f", "arguments": "TEXT"}}]}]},
        {"tools": [{"function": {"description": "TEXT"}}]},
        {"stop": ["TEXT"]},
        {"model": "TEXT"},
    ])  # fmt: skip
def test_where_a_prompt_is(body: dict[str, Any]) -> None:
    """Whatever text is in a request may be a prompt."""
    text = "the merger will cost 77 million"
    sent = json.dumps(body).replace("TEXT", text)
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, sent.encode())
    assert redactor(f"bad: {text}!") == "bad: ***!"


def test_arguments_of_a_tool_call() -> None:
    """They are JSON in JSON, and what is in them is secret however it comes back."""
    question = "what will the merger cost?"
    call = {"function": {"name": "ask", "arguments": json.dumps({"q": question, "n": 1})}}
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, json.dumps({"messages": [{"tool_calls": [call]}]}).encode())
    for echo in (question, json.dumps(call), json.dumps({"q": question}), f"q={quote(question)}"):
        assert "merger" not in redactor(echo)


def test_what_is_no_prompt() -> None:
    """Roles, types and models are needed to understand an error."""
    body = {"model": "gpt-large-2", "messages": [{"role": "assistant"}], "tool_choice": "auto"}
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, json.dumps(body).encode())
    for text in ("the model gpt-large-2 is gone", "no role assistant", "auto is no choice"):
        assert redactor(text) == text


def test_query_and_path() -> None:
    """The values of a query are prompts, and long segments of a path."""
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, query="message=what+is+the%20plan&n=1", path="/users/john.doe%40example.com")
    assert redactor("no what is the plan for john.doe@example.com at /users") == (
        "no *** for *** at /users"
    )


def test_body_too_deep_to_read() -> None:
    """A body that json can write and not read is looked through as it was sent."""
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, b"[" * 50_000 + b'"the merger will cost"' + b"]" * 50_000)
    assert redactor("no: the merger will cost") == "no: ***"


def test_message_of_ours() -> None:
    """Of an error's message only what the server sent is searched."""
    prompt = "what does expected an HTTP/1 status line mean, with got?"
    redactor = Redactor([Secret(KEY)])
    redactor.watch({}, json.dumps({"messages": [{"content": prompt}]}).encode())
    message = "expected an HTTP/1 status line, got "
    assert redactor.message(message + repr(prompt)) == message + "'***'"
    assert redactor.message(message + KEY) == message + "***"
    assert redactor.message(prompt) == prompt


def test_message_about_an_events_data() -> None:
    """Secrets are removed first, and the message is truncated afterwards."""
    redactor = redactor_of("hunter")
    assert redactor.data_message("chunk: no, got hunter") == "chunk: no, got ***"
    assert redactor.data_message("event too large: hunter") == "event too large: hunter"
    for length in range(240, 320):
        message = redactor.data_message(f"chunk: no, got {'x' * length}={KEY}" + "y" * 200)
        assert len(message) <= 301 and KEY[:4] not in message


# -------------------------------------------------------------------------------------- any writing


def go(text: str) -> str:
    """JSON as Go writes it."""
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def upper_hex(text: str) -> str:
    """JSON with the digits of its escapes in upper case."""
    return re.sub(r"u[0-9a-f]{4}", lambda it: "u" + it[0][1:].upper(), json.dumps(text)[1:-1])


ESCAPES: list[Callable[[str], str]] = [
    str, lambda text: json.dumps(text)[1:-1], lambda text: json.dumps(text, ensure_ascii=False),
    go, upper_hex, lambda text: json.dumps(text).replace("/", "\\/"), html.escape, quote,
    quote_plus, lambda text: quote(text, safe="").lower(), repr, ascii,
    lambda text: repr(text.encode()), lambda text: " ".join(text.split()),
    lambda text: "".join(f"&#x{ord(it):x};" for it in text),
]  # fmt: skip

ODD = ["secret", "plan", "x<y", "a&b", "it's", '"quoted"', "C:\\new", "100%25", "&lt;", "\\u0041",
       "\n", "中文问题", "😀", "é", "{json}", "[1,2]", "https://a.b/c?d=e+f", "\\d+"]  # fmt: skip

prompts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=150),
    st.lists(st.sampled_from(ODD), min_size=3, max_size=20).map(" ".join),
)
shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=150, deadline=None)
@given(prompts, st.lists(st.sampled_from(ESCAPES), min_size=1, max_size=3), shares)
def test_no_piece_survives(prompt: str, escapes: list[Callable[[str], str]], cut: Any) -> None:
    """Of a prompt, however escaped and wherever cut, no 16 bytes stay; JSON stays JSON."""
    echo = prompt
    for escape in escapes:
        echo = escape(echo)
    echo = echo[int(cut[0] * len(echo)) : int(cut[1] * len(echo))]
    body = {"error": {"code": "bad_request", "message": f"what: {echo}", "n": [1, None]}}
    left = json.loads(redact(json.dumps(body), prompt))
    message = left["error"].pop("message")
    assert left == {"error": {"code": "bad_request", "n": [1, None]}}
    header = f"what: {echo}".encode().decode("latin-1")
    _, headers = redactor_of(prompt).response("", {"x-echo": header})
    shown = headers["x-echo"].encode("latin-1", "replace")
    plain = plain_form(prompt.encode())
    for text in (message.encode("utf-8", "replace"), redact(f"no {echo}.", prompt).encode(), shown):
        found = plain_form(text)
        pieces = {found[at : at + PIECE] for at in range(len(found) - PIECE + 1)}
        assert not any(plain[at : at + PIECE] in pieces for at in range(len(plain) - PIECE + 1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(json_values, prompts)
def test_unrelated_bodies_stay_as_they_are(value: Any, prompt: str) -> None:
    """A body that shares nothing with the prompt is the same, letter for letter."""
    for body in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False), repr(value)):
        body = body.encode("utf-8", "replace").decode()
        plain, other = plain_form(prompt.encode()), plain_form(body.encode())
        grams = {plain[at : at + SHORTEST] for at in range(len(plain) - SHORTEST + 1)}
        if not any(other[at : at + SHORTEST] in grams for at in range(len(other))):
            assert redact(body, prompt) == body


@settings(max_examples=100, deadline=None)
@given(json_values, st.text("abc ", min_size=4, max_size=40))
def test_json_stays_json(value: Any, prompt: str) -> None:
    """Whatever is taken out of a body, it has the same structure."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return [shape(item) for item in value.values()]
        return [shape(item) for item in value] if isinstance(value, list) else None

    value = {"echo": [prompt, {"of": prompt * 3, "it": value}], prompt[:9] or "x": prompt}
    for body in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        body = body.encode("utf-8", "replace").decode()
        assert shape(json.loads(redact(body, prompt, prompt[:5]))) == shape(json.loads(body))


# ------------------------------------------------------------------------------------------ bounds


def test_time_is_looked_at() -> None:
    """When the time is up, or the answer cancelled, a text is withheld and not left as it is."""
    left = iter([True] * 3)
    redactor = Redactor([Secret(KEY)], go_on=lambda: next(left, False))
    redactor.watch({}, json.dumps({"content": "a long prompt " * 100_000}).encode())
    assert redactor.response("body", {"name": "value"}) == ("***", {"***": "***"})
    assert redactor("body") == "***"


HOSTILE = {
    "words": "some other question ",
    "one letter": "a",
    "JSON escapes": "\\u0041",
    "URL escapes": "%41",
    "escaped escapes": "%25",
    "long escape": "25",
    "entities": "&amp;",
    "no entities": "&aaaaaaaaaaaaaaaaaaaaaaaa",
    "backslashes": "\\",
    "quotes": '\\"',
}


@each("name", HOSTILE)
def test_cost_is_bounded(name: str) -> None:
    """95 headers of 60 KB and a full body cost less than a second, whatever is in them."""
    piece = HOSTILE[name]
    value = piece * (60_000 // len(piece))
    redactor = redactor_of("some question of mine " * 1000)
    begun = time.thread_time()
    body, headers = redactor.response(value + value, {f"x-{at}": value for at in range(95)})
    assert time.thread_time() - begun < 1.0
    assert len(body) <= MAX_TEXT and sum(map(len, headers.values())) <= MAX_TEXT


def test_many_small_strings_cost_little() -> None:
    """Nor does JSON of thousands of strings."""
    body = json.dumps(["abcd"] * 8000)
    begun = time.thread_time()
    assert redactor_of("some question").response(body, {})[0] == body
    assert time.thread_time() - begun < 1.0
