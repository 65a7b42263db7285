"""The peers as data: what each needs, what it can do, and how it is started before an origin on a port.

All are configured well and alike: one worker on one core, connections to the origin kept alive, nothing logged (but
hookward, which logs as a user has it), only 127.0.0.1 admitted, bodies of 25 MiB allowed where the program can.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".venv" / "bench"
MODULES = Path("/usr/lib/nginx/modules")
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MARK = re.compile(r"@([a-z_]+)@")


def program(name: str) -> str:
    """Where the program is; its bare name where it is not, so that the error names it."""
    return shutil.which(name, path=SEARCH) or name


@dataclass(frozen=True)
class Place:
    """Where one instance of a peer lives for one workload. ``cert`` and ``key`` are set when it speaks TLS."""

    folder: Path
    port: int
    origin: int
    secret: Path
    cert: Path | None = None
    key: Path | None = None
    workers: int = 1
    python: str = sys.executable

    @property
    def scheme(self) -> str:
        return "https" if self.cert else "http"

    def write(self, template: str, name: str = "", **values: object) -> Path:
        """Fill the marks of a template with this place and ``values``; the file that was written."""
        known = {
            "folder": self.folder,
            "port": self.port,
            "origin": self.origin,
            "secret": self.secret,
            "workers": self.workers,
            "scheme": self.scheme,
            **values,
        }
        text = (HERE / template).read_text()
        path = self.folder / (name or template)
        path.write_text(MARK.sub(lambda mark: str(known[mark[1]]) if mark[1] in known else mark[0], text))
        return path


@dataclass(frozen=True)
class Peer:
    """One program. ``guards``: it checks signatures; ``forwards``: what it admits reaches the origin."""

    name: str
    title: str
    start: Callable[[Place], list[str]]
    needs: tuple[Path | str, ...] = ()
    main: bool = True  # measured in every workload, not only in those for everyone
    guards: bool = True
    forwards: bool = True
    tls: bool = True
    workers: bool = False
    judges_addresses: bool = True
    own_client: bool = False  # does not close as HTTP has it, so that wrk would wait
    max_body: int | None = None
    imports: tuple[str, str] | None = None  # interpreter ("": the run's), module: what its start costs at least
    not_in: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # workload: why
    only_in: frozenset[str] = frozenset()

    def missing(self) -> str:
        """What is not installed; "" if all is."""
        for need in self.needs:
            found = need.exists() if isinstance(need, Path) else available(need)
            if not found:
                return f"{need} is not installed: make bench-install"
        return ""


def available(name: str) -> bool:
    """Whether a program is on this machine."""
    return shutil.which(name, path=SEARCH) is not None


def hookward(place: Place) -> list[str]:
    tls = f'\n[tls]\ncert = "{place.cert}"\nkey = "{place.key}"' if place.cert else ""
    return [place.python, "-m", "proxy", "--config", str(place.write("hookward.toml", tls=tls))]


def nginx(place: Place, *, modules: str = "", once: str = "", guard: str, further: str = "", buffer: str) -> list[str]:
    # Before 1.23.4 nginx speaks TLS 1.3 only where it is told to.
    tls = f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {place.cert}; ssl_certificate_key {place.key};"
    config = place.write(
        "nginx.conf",
        f"{place.port}.conf",
        user="root" if os.geteuid() == 0 else "nobody",
        modules=modules,
        once=once,
        guard=guard,
        further=further,
        body_buffer=buffer,
        ssl="ssl" if place.cert else "",
        certificate=tls if place.cert else "",
        reuseport="reuseport" if place.workers > 1 else "",
    )
    return [program("nginx"), "-p", str(place.folder), "-c", str(config)]


def nginx_plain(place: Place) -> list[str]:
    return nginx(place, guard="proxy_request_buffering off; proxy_pass http://origin;", buffer="256k")


def lua(buffer: str) -> Callable[[Place], list[str]]:
    def start(place: Place) -> list[str]:
        script = place.write("hmac.lua")
        return nginx(
            place,
            modules=f"load_module {MODULES}/ndk_http_module.so; load_module {MODULES}/ngx_http_lua_module.so;",
            once=f'init_by_lua_block {{ check = dofile("{script}") }}',
            guard="access_by_lua_block { return check() } proxy_pass http://origin;",
            buffer=buffer,
        )

    return start


def njs(place: Place) -> list[str]:
    script = place.write("hmac.js")
    return nginx(
        place,
        modules=f"load_module {MODULES}/ngx_http_js_module.so;",
        once=f"js_path {script.parent}; js_import signature from {script.name};",
        guard="js_content signature.check;",
        further="location @origin { proxy_pass http://origin; }",
        buffer="32m",
    )


def haproxy(bufsize: int) -> Callable[[Place], list[str]]:
    def start(place: Place) -> list[str]:
        ssl = ""
        if place.cert and place.key:
            both = place.folder / "both.pem"
            both.write_bytes(place.cert.read_bytes() + place.key.read_bytes())
            ssl = f"ssl crt {both}"
        key = base64.b64encode(place.secret.read_bytes()).decode()
        config = place.write("haproxy.cfg", f"haproxy-{bufsize}.cfg", bufsize=bufsize, ssl=ssl, key=key)
        return [program("haproxy"), "-db", "-f", str(config)]

    return start


def caddy(place: Place) -> list[str]:
    certificate = f"tls {place.cert} {place.key}" if place.cert else ""
    config = place.write("Caddyfile", certificate=certificate)
    environment = ["env", f"XDG_DATA_HOME={place.folder}", f"XDG_CONFIG_HOME={place.folder}"]
    return [*environment, program("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]


def webhook(place: Place) -> list[str]:
    hooks = place.write("webhook.json", secret_text=place.secret.read_text())
    secure = ["-secure", "-cert", str(place.cert), "-key", str(place.key)] if place.cert else []
    return [program("webhook"), "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(place.port), *secure]


def tls_flags(place: Place) -> list[str]:
    return ["--cert", str(place.cert), "--key", str(place.key)] if place.cert else []


def aiohttp(place: Place) -> list[str]:
    flags = ["--port", str(place.port), "--upstream", f"http://127.0.0.1:{place.origin}"]
    flags += ["--secret-file", str(place.secret), *tls_flags(place)]
    return [place.python, "-m", "bench.peers.aiohttp_hmac", *flags]


def starlette(place: Place) -> list[str]:
    flags = ["--port", str(place.port), "--upstream", f"http://127.0.0.1:{place.origin}"]
    flags += ["--secret-file", str(place.secret), *tls_flags(place)]
    return [str(interpreter("starlette")), str(HERE / "starlette_hmac.py"), *flags]


def proxy_py(place: Place) -> list[str]:
    place.write("proxy_py_hmac.py")
    values = {
        "BENCH_SECRET_FILE": place.secret,
        "BENCH_ORIGIN": f"http://127.0.0.1:{place.origin}",
        "PYTHONPATH": place.folder,
    }
    flags = ["--hostname", "127.0.0.1", "--port", str(place.port), "--num-workers", "1", "--num-acceptors", "1"]
    flags += ["--enable-reverse-proxy", "--plugins", "proxy_py_hmac.SignaturePlugin", "--log-level", "ERROR"]
    # Away from this folder, where ``proxy`` would be hookward.
    away = ["env", "-C", str(place.folder), *(f"{name}={value}" for name, value in values.items())]
    return [*away, str(interpreter("proxy_py").parent / "proxy"), "--backlog", "4096", "--timeout", "75", *flags]


def bare(place: Place) -> list[str]:
    flags = ["--port", str(place.port), "--origin", str(place.origin), "--secret-file", str(place.secret)]
    return [place.python, "-m", "bench.peers.floor", *flags]


def interpreter(environment: str) -> Path:
    return ENVIRONMENTS / environment / "bin" / "python"


LUA_NEEDS = ("nginx", MODULES / "ngx_http_lua_module.so")
LARGE = frozenset({"large", "large_8", "large_chunked", "large_chunked_8", "last_byte", "memory"})

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("hookward", "hookward", hookward, workers=True, imports=("", "proxy.ops.run_command")),
        Peer("nginx_lua", "nginx + Lua (HMAC)", lua("256k"), LUA_NEEDS, workers=True),
        Peer("nginx_lua_mem", "nginx + Lua, bodies in memory", lua("32m"), LUA_NEEDS, only_in=LARGE),
        Peer("nginx_njs", "nginx + njs (HMAC)", njs, ("nginx", MODULES / "ngx_http_js_module.so")),
        Peer("haproxy", "HAProxy hmac()", haproxy(32768), ("haproxy",), max_body=16384),
        Peer("haproxy_large", "HAProxy hmac(), buffer of 32 MiB", haproxy(32 << 20), ("haproxy",), only_in=LARGE),
        Peer("aiohttp", "aiohttp + HMAC", aiohttp, imports=("", "aiohttp.web")),
        Peer(
            "starlette",
            "Starlette/uvicorn + httpx",
            starlette,
            (interpreter("starlette"),),
            imports=(str(interpreter("starlette")), "starlette.applications, uvicorn, httpx"),
        ),
        Peer(
            "proxy_py",
            "proxy.py + HMAC",
            proxy_py,
            (interpreter("proxy_py"),),
            tls=False,
            own_client=True,
            only_in=frozenset({"close", "import"}),
            imports=(str(interpreter("proxy_py")), "proxy.proxy"),
        ),
        Peer("nginx", "nginx, no check", nginx_plain, ("nginx",), main=False, guards=False),
        Peer("caddy", "Caddy, no check", caddy, ("caddy",), main=False, guards=False),
        Peer(
            "webhook",
            "webhook (runs /bin/true)",
            webhook,
            ("webhook",),
            main=False,
            forwards=False,
            not_in=MappingProxyType({"large": "it starts a program; nothing is passed on"}),
        ),
        Peer("floor", "uvloop pipe + HMAC, no HTTP", bare, guards=False, tls=False),
    )
}
