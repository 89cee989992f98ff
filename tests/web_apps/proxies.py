"""Reverse proxies, started with the files of docs/how-to/deploy.md.

Knows the paths and names in those files, and nothing of what stands behind.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from documents import ROOT

from .running import Server, free_port, running

DEPLOY = "docs/how-to/deploy.md"
MODULES = Path("/usr/lib/apache2/modules")


@attrs.frozen
class Proxy:
    """A proxy: the file in the document, the one around it, and the command.

    In both, `{here}` is a folder, `{port}` where it listens, `{user}` a line for root.
    """

    program: str
    saved_as: str
    around: str
    command: tuple[str, ...]
    for_root: str = ""


NGINX = """
daemon off; pid {here}/pid; error_log {here}/error; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    access_log off; gzip on; gzip_types *; default_type text/plain;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    include {here}/chat;
}}
"""

CADDY = """
{{
    admin off
    auto_https off
    skip_install_trust
}}
import {here}/chat
"""

HAPROXY = "global\n    maxconn 500\n"

APACHE = """
ServerRoot {here}
PidFile {here}/pid
ErrorLog {here}/error
ServerName localhost
Listen 127.0.0.1:{port}
{user}
{modules}
Include {here}/chat
"""

APACHE_MODULES = (
    *("mpm_event", "alias", "authz_core", "headers", "http2", "proxy", "proxy_http", "ssl"),
    *("socache_shmcb",),
)

PROXIES = {
    "nginx": Proxy(
        "nginx",
        "/etc/nginx/conf.d/chat.conf",
        NGINX,
        ("-p", "{here}", "-c", "{here}/main"),
        "user root;",
    ),
    "caddy": Proxy(
        "caddy",
        "/etc/caddy/Caddyfile",
        CADDY,
        ("run", "--adapter", "caddyfile", "--config", "{here}/main"),
    ),
    "haproxy": Proxy(
        "haproxy",
        "/etc/haproxy/haproxy.cfg",
        HAPROXY,
        ("-db", "-f", "{here}/main", "-f", "{here}/chat"),
    ),
    "apache": Proxy(
        "apache2",
        "/etc/apache2/sites-enabled/chat.conf",
        APACHE,
        ("-f", "{here}/main", "-DFOREGROUND"),
        "User www-data\nGroup www-data",
    ),
}


def saved(path: str) -> str:
    """The file that the document says to save there."""
    text = (ROOT / DEPLOY).read_text("utf-8")
    match = re.search(rf"`{re.escape(path)}`:\n\n```text\n(.*?)^```$", text, re.M | re.S)
    assert match, f"{DEPLOY} has no {path}"
    return match[1]


@contextmanager
def proxied(name: str, upstream: int, here: Path, certificate: Path) -> Iterator[Server]:
    """A proxy before this port, at https://localhost; the certificate's file has the key, too."""
    proxy = PROXIES[name]
    program = shutil.which(proxy.program, path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        pytest.skip(f"needs {proxy.program}")
    port = free_port()
    listening = f"chat.example.com:{port} {{\n    tls {certificate} {certificate}\n"
    file = saved(proxy.saved_as).replace("chat.example.com {\n", listening)
    for old, new in {
        "chat.example.com": "localhost",
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        # Less than the application takes, so that it is the proxy that refuses.
        " 2m;": " 1m;",
        "2MB": "1MB",
        "2097152": "1048576",
    }.items():
        file = file.replace(old, new)
    file = re.sub(r"\b443\b", str(port), file)
    file = re.sub(r"/etc/ssl/[\w.-]+", str(certificate), file)
    (here / "chat").write_text(file, "utf-8")
    loads = (f"LoadModule {m}_module {MODULES}/mod_{m}.so" for m in APACHE_MODULES)
    values = {
        "here": here,
        "port": port,
        "user": proxy.for_root if os.getuid() == 0 else "",
        "modules": "\n".join(loads),
    }
    (here / "main").write_text(proxy.around.format(**values), "utf-8")
    command = (program, *(part.replace("{here}", str(here)) for part in proxy.command))
    with running(command, here / "log", port=port, ready="") as server:
        yield server
