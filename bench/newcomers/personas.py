"""The newcomers: what each of them has, wants, and types to get there, beginning at the README.

What an older hookward does not have (``init``, ``send --config``) is done as its own pages say. ``is_told`` are the
things that cost the newcomers of a trial most of their time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.newcomers.machine import Done, Service, quoted
from bench.newcomers.mistaken import FOLDER, judge, make_fixtures
from bench.newcomers.trial import GaveUpError, Trial

#: The README's way without make.
INSTALL = "cd hookward && python3 -m venv .venv && .venv/bin/pip install -q ."
URL = "http://127.0.0.1:8080"
ETC_SECRET = "/etc/hookward/github.secret"
_FENCE = re.compile(r"^```sh([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTHING: Mapping[str, str] = MappingProxyType({})
#: An application as newcomers have one: it says yes, and prints what came.
APPLICATION = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200); self.send_header("Content-Length", "3"); self.end_headers(); self.wfile.write(b"ok\\n")
        print("came", self.path, len(body), self.headers.get("Webhook-Verified"), flush=True)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
print("application is up", flush=True)
Server((sys.argv[1], 8000), Handler).serve_forever()
"""


def application(trial: Trial, host: str = "127.0.0.1") -> Service:
    """Theirs, which has been there before hookward."""
    trial.machine.write("app.py", APPLICATION)
    service = trial.machine.start(f"python3 -u app.py {host}")
    assert service.says("application is up"), service.text
    return service


@dataclass
class Guard:
    """hookward before their application, with one route: how it runs, and how a delivery is sent to it."""

    trial: Trial
    provider: str
    path: str
    service: Service
    to: str  # the flags of ``send``

    def send(self, words: str = "", url: str = "") -> Done:
        """One delivery, to the listener, or to what stands in front of it at ``url``."""
        to = self.to if not url else f"--url '{url}' --secret-file {self.provider}.secret"
        return self.trial.does(f"hookward send {self.provider} {words} {to}")


def guard(trial: Trial, provider: str, path: str, host: str = "127.0.0.1", more: Mapping[str, str] = NOTHING) -> Guard:
    """Guard a path, by ``init`` where there is one. ``more`` are keys of the file, which are flags as well."""
    if not trial.knows("init"):
        return guard_by_flags(trial, provider, path, host, more)
    where = "" if host == "127.0.0.1" else f"--listen '{host}:8080' --upstream 'http://{host}:8000'"
    trial.must(f"hookward init {provider} --path {path} {where}")
    if more:
        text = "".join(f"{key} = {value}\n" for key, value in more.items())
        trial.must(f"printf '%s' {quoted(text)} | cat - hookward.toml > both && mv both hookward.toml")
    service = trial.starts("hookward run hookward.toml")
    return Guard(trial, provider, path, service, "--config hookward.toml")


def guard_by_flags(trial: Trial, provider: str, path: str, host: str, more: Mapping[str, str]) -> Guard:
    """As the README had it first."""
    if trial.machine.run(f"test -e {provider}.secret").code:
        secret(trial, provider)
    flags = f"--listen '{host}:8080' --upstream '{host}:8000' --path {path} --provider {provider}"
    names = {"trusted_proxies": "--trusted-proxy", "proxy_protocol": "--proxy-protocol"}
    flags += "".join(f" {names[key]} {value.strip('[]')}" for key, value in more.items())
    service = trial.starts(f"hookward {flags} --secret-file {provider}.secret")
    return Guard(trial, provider, path, service, f"--url 'http://{host}:8080{path}' --secret-file {provider}.secret")


def secret(trial: Trial, provider: str = "github") -> str:
    """Make one, as tools.md says; the name of its file."""
    trial.must(f"hookward gen-secret {provider} --out {provider}.secret")
    return f"{provider}.secret"


def reader(trial: Trial) -> None:
    """Somebody who types what the README says, from the first line to a delivery of their own, and then the demo."""
    application(trial)
    trial.must(INSTALL, online=True)
    page = (trial.machine.root / "root/hookward/README.md").read_text()
    scripts = [text for mark, text in _FENCE.findall(page) if mark == " first"]
    if not scripts:
        # What the README had before ``init``; where its secret comes from, only tools.md says.
        scripts = [text for _, text in _FENCE.findall(page) if "--path /hooks/github" in text][:1]
    for line in _lines("\n".join(scripts)):
        _types(trial, line)
    if trial.report.seconds is None:
        trial.must("mkdir -p /etc/hookward && hookward gen-secret github --out /etc/hookward/github.secret")
        for line in (*_lines(scripts[0]), f"hookward send github --url {URL}/hooks/github --secret-file {ETC_SECRET}"):
            _types(trial, line)
    demo = trial.tries("set -o pipefail; timeout 60 hookward demo < /dev/null | cat")
    trial.is_told(
        "that the demo is over, where no terminal is", found="Every promise was kept" in demo.text and demo.code == 0
    )


def _types(trial: Trial, line: str) -> None:
    if re.match(r"hookward run |(hookward|python -m proxy) --", line):
        trial.starts(line.removesuffix("&"))
    elif trial.does(line).code == 0 and line.startswith("hookward send "):
        trial.succeeds()


def _lines(script: str) -> list[str]:
    """The commands of a script, each on one line; comments left out."""
    whole = [re.sub(r"\s+# .*", "", line).strip() for line in script.replace("\\\n", " ").splitlines()]
    return [line for line in whole if line and not line.startswith("#")]


def administrator(trial: Trial) -> None:
    """GitHub by signature and an old sender by token, on one path; and who is refused must be told why."""
    application(trial)
    trial.must(INSTALL, online=True)
    file, path = secret(trial), "/flexdeploy/webhooks/v2/git"
    trial.must("hookward gen-secret --out legacy.token")
    trial.writes(
        "hookward.toml",
        f"""
listen   = ["127.0.0.1:8080"]
upstream = "http://127.0.0.1:8000"
[route.github]
path     = "{path}"
provider = "github"
secrets  = ["file:{file}"]
[route.legacy]
path  = "{path}"
token = {{ query = "token", secrets = ["file:legacy.token"] }}
""",
    )
    trial.must("hookward check --config hookward.toml")
    service = trial.starts("hookward --config hookward.toml")
    first = trial.does(f"hookward send github push --url {URL}{path} --secret-file {file}").code == 0
    old = trial.does(f'curl -fsS "{URL}{path}?token=$(cat legacy.token)" -d release=7')
    if first and old.code == 0:
        trial.succeeds()
    trial.tries(f'curl -sS "{URL}{path}?token=wrong" -d release=7')
    trial.is_told("a wrong token is the other route's refusal", found=service.says("token_mismatch", 2.0))
    _refused_address(trial)


def _refused_address(trial: Trial) -> None:
    trial.machine.write(
        "closed.toml",
        'listen = ["127.0.0.1:8090"]\nupstream = "http://127.0.0.1:8000"\n'
        '[route.x]\npath = "/"\nallow = ["127.0.0.2"]\n',
    )
    service = trial.starts("hookward --config closed.toml")
    trial.tries("curl -sS http://127.0.0.1:8090/ -d x")
    service.stop()
    trial.is_told("an address that is refused leaves a trace", found="127.0.0.1" in _behind(service, "listening on"))


def _behind(service: Service, words: str) -> str:
    """What was printed after the last line with these words."""
    lines = service.text.splitlines()
    last = max((number for number, line in enumerate(lines) if words in line), default=-1)
    return "\n".join(lines[last + 1 :])


NGINX = """
pid /run/nginx.pid;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:9000;
        location / {
            proxy_pass http://127.0.0.1:8080;
            proxy_http_version 1.1;
            proxy_set_header Host hooks.example.com;
            proxy_set_header X-Forwarded-For 192.0.2.7;
            proxy_set_header Forwarded "";
            proxy_request_buffering off;
        }
    }
}
"""


def behind_a_tunnel(trial: Trial) -> None:
    """A laptop behind a tunnel: nothing configured at first, then a route and the tunnel trusted."""
    application(trial)
    trial.machine.write("/etc/nginx/tunnel.conf", NGINX)
    tunnel = trial.machine.start("nginx -c /etc/nginx/tunnel.conf -g 'daemon off;'")
    trial.must(INSTALL, online=True)
    service = trial.starts("hookward --listen 127.0.0.1:8080 --upstream 127.0.0.1:8000")
    trial.tries("curl -sS --retry 3 --retry-connrefused http://127.0.0.1:9000/hooks -d x")
    trial.is_told(
        "why local-only mode refuses a tunnel",
        found=service.says("forwarding_field", 2.0) or service.says("public_host", 0.1),
    )
    service.stop()
    guarded = guard(trial, "github", "/hooks", more={"trusted_proxies": '["127.0.0.1"]'})
    if guarded.send(url="http://127.0.0.1:9000/hooks").code == 0:
        trial.succeeds()
    tunnel.stop()
    trial.machine.write(
        "tunnel.toml",
        'listen = ["127.0.0.1:8091"]\nupstream = "http://127.0.0.1:8000"\n[route.g]\npath = "/"\n'
        'provider = "github"\nsecrets = ["file:github.secret"]\nallow = ["192.0.2.0/24"]\n',
    )
    checked = trial.tries("hookward check --strict --config tunnel.toml")
    trial.is_told("nobody can pass: loopback alone, and no proxy trusted", found=checked.code != 0)


BUILDBOT = """
from buildbot.plugins import schedulers, steps, util, worker
factory = util.BuildFactory([steps.ShellCommand(command=["true"])])
BuildmasterConfig = {
    "buildbotNetUsageData": None,
    "buildbotURL": "http://127.0.0.1:8000/",
    "db": {"db_url": "sqlite:///state.sqlite"},
    "protocols": {"null": {}},
    "workers": [worker.LocalWorker("local")],
    "schedulers": [schedulers.AnyBranchScheduler(name="all", builderNames=["hello"], treeStableTimer=None)],
    "builders": [util.BuilderConfig(name="hello", workernames=["local"], factory=factory)],
    "www": {
        "port": "tcp:8000:interface=127.0.0.1",
        "plugins": {},
        "change_hook_dialects": {"github": {"secret": open("/root/github.secret").read().strip(), "strict": True}},
    },
}
"""


#: Waits for a build that has ended.
BUILT = """
for n in $(seq 60); do
    curl -fsS 'http://127.0.0.1:8000/api/v2/builds?complete=true' | grep -q buildid && exit 0
    sleep 0.5
done
exit 1
"""


def buildbot_team(trial: Trial) -> None:
    """A buildbot that builds what GitHub pushes; as JSON, and as the form that they have always had."""
    trial.has(
        "python3 -m venv bb && bb/bin/pip install -q buildbot buildbot-worker buildbot-www"
        " && bb/bin/buildbot create-master -q master"
    )
    trial.machine.write("master/master.cfg", BUILDBOT)
    trial.must(INSTALL, online=True)
    guarded = guard(trial, "github", "/change_hook/github")
    buildbot = trial.machine.start("bb/bin/buildbot start --nodaemon master")
    ready = "curl -fsS --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:8000/api/v2/builds"
    if trial.machine.run(ready).code:
        raise GaveUpError(buildbot.text)
    if guarded.send("push").code == 0 and trial.machine.run(BUILT).code == 0:
        trial.succeeds()
    trial.is_told("a push in a form", found=guarded.send("push --form").code == 0)


DJANGO = """
import os, sys, django, stripe
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
settings.configure(DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", INSTALLED_APPS=[])
secret = open("/root/stripe.secret").read().strip()
@csrf_exempt
@require_POST
def hook(request):
    event = stripe.Webhook.construct_event(request.body, request.headers["Stripe-Signature"], secret)
    return HttpResponse(f"{event.type} of {event.data.object.object} is verified")
urlpatterns = [path("stripe/webhook/", hook)]
from django.core.management import execute_from_command_line
execute_from_command_line([sys.argv[0], "runserver", "--noreload", "127.0.0.1:8000"])
"""


def django_and_stripe(trial: Trial) -> None:
    """A view that verifies with Stripe's SDK, behind hookward, which verifies first."""
    trial.has("python3 -m venv dj && dj/bin/pip install -q django stripe")
    trial.machine.write("shop.py", DJANGO)
    # Stripe makes the secret and shows it; they have copied it.
    trial.has("printf 'whsec_%s' $(openssl rand -hex 24) > stripe.secret && chmod 600 stripe.secret")
    shop = trial.machine.start("dj/bin/python -u shop.py")
    if not shop.says("Starting development server"):
        raise GaveUpError(shop.text)
    trial.must(INSTALL, online=True)
    guarded = guard(trial, "stripe", "/stripe/webhook/")
    if "checkout.session.completed of checkout.session is verified" in guarded.send().text:
        trial.succeeds()
    made = trial.tries("hookward gen-secret stripe")
    trial.is_told("that Stripe makes the secret itself", found="Stripe" in made.text)


#: As operations.md has it.
FIRST_ROUTE = """\
listen   = ["127.0.0.1:8080"]
upstream = "http://127.0.0.1:8000"
admin    = "127.0.0.1:4040"

[route.github]
path     = "/hooks/github"
provider = "github"
secrets  = ["file:/etc/hookward/github.secret"]
"""


def operator(trial: Trial) -> None:
    """The Debian package: the first route of operations.md as root, and the service as its own user."""
    application(trial)
    trial.must("apt-get install -y -qq --no-install-recommends systemd-standalone-sysusers ./hookward.deb", online=True)
    trial.must("hookward gen-secret github --out /etc/hookward/github.secret")
    trial.writes("/etc/hookward/hookward.toml", FIRST_ROUTE)
    checked = trial.does("hookward check --config /etc/hookward/hookward.toml")
    as_service = "setpriv --reuid=hookward --regid=hookward --init-groups hookward --config /etc/hookward/hookward.toml"
    service = trial.starts(as_service)
    if service.code is not None:
        trial.must("chgrp hookward /etc/hookward/github.secret && chmod 640 /etc/hookward/github.secret")
        service = trial.starts(as_service)
    trial.is_told("check and run agree", found=(checked.code == 0) == (not trial.report.stumbles))
    sent = trial.does(f"hookward send github --url {URL}/hooks/github --secret-file /etc/hookward/github.secret")
    if sent.code == 0:
        trial.succeeds()
    service.stop()
    _expired(trial)


def _expired(trial: Trial) -> None:
    make_fixtures(trial.machine)
    flags = "--path /x --provider github --secret-file /etc/hookward/github.secret"
    flags += f" --tls-cert {FOLDER}/expired.pem --tls-key {FOLDER}/expired.key"
    checked = trial.tries(f"hookward --listen 127.0.0.1:8443 --upstream 127.0.0.1:8000 {flags} --check-config")
    trial.is_told("a certificate that is over", found="expired" in checked.text)
    trial.machine.write("logged.toml", 'access_log = "/var/log/nowhere/access.log"\n' + FIRST_ROUTE)
    checked = trial.tries("hookward check --config logged.toml")
    trial.is_told("a log folder that is not there", found=checked.code != 0)


def mistaken(trial: Trial) -> None:
    """All the mistakes that people make: each must be told with its place and its mend."""
    trial.must(INSTALL, online=True)
    trial.report.told, trial.report.not_told = judge(trial.machine)
    trial.report.commands += len(trial.report.told) + len(trial.report.not_told)
    trial.succeeds()


def newer_python(trial: Trial) -> None:
    """Whatever Python this system has, and hookward from the README."""
    application(trial)
    trial.must(INSTALL, online=True)
    _one_route(trial)
    version = trial.machine.run("python3 --version").text.split()[-1]
    trial.report.name += f" ({version})"


def without_uvloop(trial: Trial) -> None:
    """No uvloop: a machine for which there is none."""
    application(trial)
    trial.must(
        "cd hookward && python3 -m venv .venv && .venv/bin/pip install -q h11 && .venv/bin/pip install -q --no-deps .",
        online=True,
    )
    _one_route(trial)


def _one_route(trial: Trial, host: str = "127.0.0.1") -> None:
    if guard(trial, "github", "/hooks/github", host).send().code == 0:
        trial.succeeds()


def only_ipv6(trial: Trial) -> None:
    """A host without IPv4."""
    trial.machine.only_ipv6()
    application(trial, "::1")
    trial.must(INSTALL, online=True)
    _one_route(trial, "[::1]")
    demo = trial.tries("hookward demo --once")
    trial.is_told("that the demonstration needs 127.0.0.1", found="Traceback" not in demo.text)


HAPROXY = """
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend hooks
    mode tcp
    bind 127.0.0.1:9000
    default_backend hookward
backend hookward
    mode tcp
    server one 127.0.0.1:8080 send-proxy-v2
"""


def behind_proxy_protocol(trial: Trial) -> None:
    """HAProxy with ``send-proxy-v2`` in front; ``proxy_protocol`` is forgotten at first."""
    application(trial)
    trial.machine.write("haproxy.cfg", HAPROXY)
    trial.machine.start("haproxy -f haproxy.cfg -db")
    trial.must(INSTALL, online=True)
    guarded = guard(trial, "github", "/hooks")
    trial.tries("hookward send github --url http://127.0.0.1:9000/hooks --secret-file github.secret")
    guarded.service.stop()
    trial.is_told("that a PROXY header comes where none is expected", found="proxy_protocol" in guarded.service.text)
    trial.must("rm -f hookward.toml")
    guarded = guard(trial, "github", "/hooks", more={"proxy_protocol": '"require"', "trusted_proxies": '["127.0.0.1"]'})
    if guarded.send(url="http://127.0.0.1:9000/hooks").code == 0:
        trial.succeeds()


MIXED_UP = """
listen   = ["127.0.0.1:{port}"]
upstream = "http://127.0.0.1:8000"
{more}
[route.github]
path     = "/hooks"
provider = "github"
secrets  = ["file:github.secret"]
{tables}
"""
TLS = f'[tls]\ncert = "{FOLDER}/cert.pem"\nkey = "{FOLDER}/key.pem"\n'
PROXIED = 'proxy_protocol = "require"\ntrusted_proxies = ["127.0.0.1"]\n'
#: What is mixed up: keys and tables of the file, what is typed, and what of it is in the journal.
MIX_UPS = {
    "TLS on a plain port": ("", "", "curl -sSk https://127.0.0.1:{port}/hooks -d x", "TLS came to a port"),
    "plain HTTP on a TLS port": ("", TLS, "curl -sS http://127.0.0.1:{port}/hooks -d x", "plain HTTP came to a port"),
    "a client that does not know the authority": (
        "",
        TLS,
        "curl -sS --resolve hooks.example.com:{port}:127.0.0.1 https://hooks.example.com:{port}/hooks -d x",
        "TLS failed: ",
    ),
    "a PROXY header before HTTP": (
        "",
        "",
        "curl -sS --haproxy-protocol http://127.0.0.1:{port}/hooks -d x",
        "begins with a PROXY header, and none is expected",
    ),
    "a PROXY header before TLS": (
        "",
        TLS,
        "curl -sSk --haproxy-protocol https://127.0.0.1:{port}/hooks -d x",
        "begins with a PROXY header, and none is expected",
    ),
    "no PROXY header before HTTP": (
        PROXIED,
        "",
        "curl -sS http://127.0.0.1:{port}/hooks -d x",
        "with HTTP where a PROXY header is required",
    ),
    "no PROXY header before TLS": (
        PROXIED,
        TLS,
        "curl -sSk https://127.0.0.1:{port}/hooks -d x",
        "with TLS where a PROXY header is required",
    ),
}


def mixed_up(trial: Trial) -> None:
    """Protocols in the wrong place, each told in the journal; then a delivery over TLS."""
    application(trial)
    make_fixtures(trial.machine)
    trial.must(INSTALL, online=True)
    secret(trial)
    for number, (what, (more, tables, script, said)) in enumerate(MIX_UPS.items()):
        port = 8100 + number
        trial.writes(f"mixed-{number}.toml", MIXED_UP.format(port=port, more=more, tables=tables))
        service = trial.starts(f"hookward --config mixed-{number}.toml")
        trial.tries(script.format(port=port))
        trial.is_told(what, found=service.says(said, 3.0))
        service.stop()
    trial.writes("tls.toml", MIXED_UP.format(port=8443, more="", tables=TLS))
    trial.starts("hookward --config tls.toml")
    to = f"--url https://127.0.0.1:8443/hooks --secret-file github.secret --cafile {FOLDER}/cert.pem --insecure"
    if trial.knows("send --config"):
        to = "--config tls.toml"
    if trial.does(f"hookward send github {to}").code == 0:
        trial.succeeds()


@dataclass(frozen=True)
class Persona:
    """One newcomer: what is done, and on which release ("": the usual Debian)."""

    title: str
    act: Callable[[Trial], None]
    suite: str = ""


PERSONAS: Mapping[str, Persona] = MappingProxyType(
    {
        "reader": Persona("somebody who types what the README says", reader),
        "administrator": Persona("FlexDeploy administrator: GitHub and an old token sender on one path", administrator),
        "tunnel": Persona("developer behind a tunnel", behind_a_tunnel),
        "buildbot": Persona("buildbot team", buildbot_team),
        "django": Persona("Django and Stripe developer", django_and_stripe),
        "operator": Persona("operator with the Debian package", operator),
        "mistaken": Persona("someone who makes mistakes", mistaken),
        "mixed-up": Persona("someone who mixes up protocols", mixed_up),
        "python-3.12": Persona("the Python of Ubuntu 24.04", newer_python, suite="noble"),
        "python-3.13": Persona("the Python of Debian 13", newer_python, suite="trixie"),
        "python-3.14": Persona("the Python of Debian's testing", newer_python, suite="forky"),
        "no-uvloop": Persona("without uvloop", without_uvloop),
        "ipv6": Persona("IPv6 alone", only_ipv6),
        "proxy": Persona("behind HAProxy with the PROXY protocol", behind_proxy_protocol),
    }
)
