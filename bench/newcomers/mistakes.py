"""Broken configurations and command lines, as newcomers write them, each with what must be said: where, and the mend.

``SECRET`` and ``FOLDER`` in them stand for the file of a good secret, and the folder that it is in.
"""

from __future__ import annotations

TOP = 'listen = ["127.0.0.1:8080"]\nupstream = "http://127.0.0.1:8000"\n'
GITHUB = '[route.github]\npath = "/hooks"\nprovider = "github"\nsecrets = ["file:SECRET"]\n'


def route(more: str) -> str:
    return TOP + GITHUB + more


#: Which, the file, and the words that must be in what is said, in this order.
CONFIGURATIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("no toml", TOP + "[route", (":3", "]")),
    ("a text without its end", 'listen = ["127.0.0.1:8080', (":1",)),
    ("a key twice", TOP + 'upstream = "http://127.0.0.1:1"\n', (":3",)),
    ("an unknown key", TOP + "lisen = 1\n" + GITHUB, (":3", "lisen", "did you mean 'listen'")),
    ("an unknown key of a route", route('metods = ["POST"]\n'), (":7", "metods", "did you mean 'methods'")),
    ("an unknown table", TOP + GITHUB.replace("route", "rout"), (":3", "rout", "route")),
    ("a limit unknown", route("[limits]\nmax_bodi = 1\n"), (":8", "max_bodi", "did you mean 'max_body'")),
    ("a size that is none", route('[limits]\nmax_body = "25 megs"\n'), (":8", "max_body", "25MiB")),
    ("a size beyond its range", route('[limits]\nmax_body = "1000TiB"\n'), (":8", "max_body")),
    ("a time that is none", route('[limits]\nhead_timeout = "soon"\n'), (":8", "head_timeout", "8s")),
    ("a number for a text", TOP.replace('"http://127.0.0.1:8000"', "8000") + GITHUB, (":2", "upstream", '"')),
    ("listen without a port", TOP.replace(":8080", "") + GITHUB, (":1", "listen", "no port", "0.0.0.0:443")),
    ("listen on a name", TOP.replace("127.0.0.1:8080", "example.com:80") + GITHUB, (":1", "listen", "not an address")),
    ("listen as a URL", TOP.replace("127.0.0.1:8080", "http://x:1") + GITHUB, (":1", "listen", "is a URL")),
    ("listen beyond the ports", TOP.replace("8080", "80800") + GITHUB, (":1", "listen", "0 to 65535")),
    ("IPv6 without brackets", TOP.replace("127.0.0.1:8080", "::1:80") + GITHUB, (":1", "brackets", "[::1]")),
    ("an upstream of ftp", TOP.replace("http:", "ftp:") + GITHUB, (":2", "upstream", "ftp")),
    ("an upstream with a user", TOP.replace("127.0.0.1:8000", "u:p@h:1") + GITHUB, (":2", "upstream", "'@'")),
    ("its own listener as upstream", TOP.replace("8000", "8080") + GITHUB, (":2", "upstream", "listen")),
    ("no upstream", 'listen = ["127.0.0.1:8080"]\n' + GITHUB, ("upstream", "http://127.0.0.1:8000")),
    ("nothing listens", TOP.splitlines()[1] + "\n" + GITHUB, ("listen", "0.0.0.0:443")),
    ("a provider unknown", route("").replace('"github"', '"githob"'), (":5", "githob", "did you mean 'github'")),
    ("two providers", route("").replace('"github"', '["github", "gitlab"]'), (":5", "provider", "route")),
    ("no secret", TOP + GITHUB.replace('secrets = ["file:SECRET"]\n', ""), (":5", "no usable secret", "secrets =")),
    ("a secret itself", route("").replace("file:SECRET", "It's a secret to you"), (":6", "secrets", "file:")),
    ("no file of a secret", route("").replace("SECRET", "FOLDER/none"), (":6", "FOLDER/none", "gen-secret")),
    ("a folder as a secret", route("").replace("SECRET", "FOLDER"), (":6", "FOLDER", "folder")),
    ("an empty secret", route("").replace("SECRET", "FOLDER/empty"), (":6", "empty")),
    ("no such variable", route("").replace("file:SECRET", "env:NO_SUCH"), (":6", "NO_SUCH", "set it")),
    ("no credentials", route("").replace("file:SECRET", "cred:x"), (":6", "LoadCredential")),
    (
        "a secret that is over",
        route("").replace('"file:SECRET"', '{ from = "file:SECRET", not_after = 2020-01-01 }'),
        (":6", "expired", "current secret"),
    ),
    ("a public key that is none", route("").replace('"github"', '"discord"'), ("public key",)),
    ("nothing guards", TOP + '[route.x]\npath = "/x"\n', (":3", "nothing guards", "allow", "provider", "token")),
    (
        "a token without a place",
        TOP + '[route.x]\npath = "/"\ntoken = { secrets = ["file:SECRET"] }\n',
        (":5", "query"),
    ),
    (
        "a token in two places",
        TOP + '[route.x]\npath = "/"\ntoken = { query = "t", bearer = true, secrets = ["file:SECRET"] }\n',
        (":5", "query and bearer", "exactly one"),
    ),
    ("a path without a slash", route("").replace('"/hooks"', '"hooks"'), (":4", "path", "/")),
    ("a path with dots", route("").replace('"/hooks"', '"/a/../b"'), (":4", "path")),
    ("a method in small letters", route('methods = ["post"]\n'), (":7", "methods", "POST")),
    ("a prefix with host bits", route('allow = ["192.0.2.1/24"]\n'), (":7", "allow", "192.0.2.0/24")),
    ("an address that is none", route('allow = ["192.0.2"]\n'), (":7", "allow", "192.0.2.")),
    ("a name for an address", route('allow = ["github.com"]\n'), (":7", "allow", "not an address", "192.0.2.7")),
    ("a set unknown", route('allow = ["set:githob"]\n'), (":7", "did you mean")),
    (
        "events of a provider without",
        route('events = ["x"]\n').replace('"github"', '"heroku"'),
        (":7", "events", "where"),
    ),
    ("a free body under a signature", route('body = "free"\n'), (":7", "body", '"tail"')),
    ("a body mode unknown", route('body = "tial"\n'), (":7", "body", "tail")),
    ("Twilio without its URL", route("").replace('"github"', '"twilio"'), ("public_url",)),
    (
        "PROXY and nobody trusted",
        'proxy_protocol = "require"\n' + route(""),
        (":1", "proxy_protocol", "trusted_proxies"),
    ),
    ("no file of a certificate", route('[tls]\ncert = "FOLDER/none"\n'), (":8", "FOLDER/none")),
    ("cert and key swapped", route('[tls]\ncert = "FOLDER/key.pem"\nkey = "FOLDER/cert.pem"\n'), ("key.pem", "swap")),
    ("another certificate's key", route('[tls]\ncert = "FOLDER/cert.pem"\nkey = "FOLDER/other.pem"\n'), ("other.pem",)),
    (
        "an encrypted key",
        route('[tls]\ncert = "FOLDER/cert.pem"\nkey = "FOLDER/locked.pem"\n'),
        ("locked.pem", "encrypt"),
    ),
    ("listen below a table", GITHUB + TOP, (":5", "listen", "above")),
    ("routes for route", TOP + GITHUB.replace("route.", "routes."), ("routes", "route")),
    ("route as a list", TOP + GITHUB.replace("[route.github]", "[[route]]"), ("route", "[route.")),
    (
        "a scheme without the body",
        TOP + GITHUB.replace('"github"', '"acme"') + '[scheme.acme]\nheader = "X"\nsigned = "{id}"\n',
        (":9", "signed", "{body}"),
    ),
    ("a scheme with a known name", route('[scheme.github]\nheader = "X"\n'), (":7", "already", "another name")),
    ("no log folder", 'access_log = "FOLDER/no/such/a.log"\n' + route(""), ("access_log", "mkdir -p")),
    ("a rule unknown", 'silence = ["H999"]\n' + route(""), (":1", "H999")),
    ("a test without its file", route('[[test]]\nfile = "FOLDER/none"\n'), ("FOLDER/none",)),
    ("an expired certificate", route('[tls]\ncert = "FOLDER/expired.pem"\nkey = "FOLDER/expired.key"\n'), ("expired",)),
    ("an event that GitHub does not have", route('events = ["pusch"]\n'), ("pusch", "push")),
    ("unreachable by construction", route('allow = ["set:github"]\n'), ("loopback",)),
]

_RUN = "--listen 127.0.0.1:8080 --upstream 127.0.0.1:8000 --path /x --provider github"
_ONE = f"{_RUN} --secret-file SECRET"
#: Which, the words behind ``hookward``, and the words that must be in what is said.
COMMAND_LINES: list[tuple[str, str, tuple[str, ...]]] = [
    ("a flag misspelt", f"{_ONE} --listn x -t", ("--listn", "did you mean '--listen'")),
    ("a command misspelt", "chek", ("chek", "check")),
    ("a flag without its value", "--listen", ("--listen", "expected")),
    ("a secret on the command line", f"{_RUN} --secret hush", ("--secret", "--secret-file PATH")),
    ("a token on the command line", "--token hush", ("--token", "--token-file PATH")),
    ("a password", "--password hush", ("--password", "--token-file")),
    ("no file of a secret", f"{_RUN} --secret-file FOLDER/none -t", ("FOLDER/none", "gen-secret")),
    ("no secret", f"{_RUN} -t", ("secret", "--secret-file PATH")),
    ("a provider misspelt", f"{_ONE.replace('github', 'gihtub')} -t", ("--provider", "did you mean 'github'")),
    ("a provider without a path, twice", f"{_ONE} --path /y -t", ("--path", "file")),
    ("two providers", f"{_ONE} --provider slack --secret-file SECRET -t", ("--provider", "file")),
    ("no upstream", "--listen 127.0.0.1:8080 --path / --provider github --secret-file SECRET -t", ("--upstream",)),
    ("nothing listens", "--upstream 127.0.0.1:8000 -t", ("--listen",)),
    ("a port that is none", "--listen 127.0.0.1:http --upstream 127.0.0.1:8000 -t", ("--listen", "port")),
    ("a method in small letters", f"{_ONE} --method post -t", ("--method", "POST")),
    ("a list with commas", f"{_ONE} --allow 192.0.2.0/24,198.51.100.0/24 -t", ("--allow", "--allow")),
    ("a size that is none", f"{_ONE} --max-body lots -t", ("--max-body", "25MiB")),
    ("a mode that is none", f"{_ONE} --mode watch -t", ("--mode", "observe")),
    (
        "a token without a file",
        "--listen 127.0.0.1:1 --upstream 127.0.0.1:2 --token-query t -t",
        ("--token-file PATH",),
    ),
    ("no configuration of that name", "check -c FOLDER/none", ("FOLDER/none", "cannot be read")),
    ("a folder as configuration", "check -c FOLDER", ("FOLDER", "cannot be read")),
    ("a word that is no file", "check FOLDER/none", ("no file", "--config")),
    ("no such user", f"{_ONE} --user nosuch -t", ("nosuch", "user")),
    ("workers that are none", f"{_ONE} --workers lots -t", ("--workers", "auto")),
    ("send to nobody", "send", ("PROVIDER", "send github")),
    ("send without a place", "send github --secret-file SECRET", ("--url", "http://")),
    ("send without a secret", "send github --url http://127.0.0.1:1/", ("--secret-file",)),
    (
        "send misspelt",
        "send gihtub --url http://127.0.0.1:1/ --secret-file SECRET",
        ("gihtub", "did you mean 'github'"),
    ),
    (
        "send an unknown event",
        "send github pusch --url http://127.0.0.1:1/ --secret-file SECRET",
        ("did you mean 'push'",),
    ),
    ("send to no URL", "send github --url 127.0.0.1 --secret-file SECRET", ("--url", "http://HOST/PATH")),
    (
        "send where nothing listens",
        "send github --url http://127.0.0.1:1/ --secret-file SECRET",
        ("no answer", "refused"),
    ),
    ("send a route of no file", "send --route x", ("--route", "--config PATH")),
    (
        "send spoilt in an unknown way",
        "send github --url http://h/ --secret-file SECRET --tamper x",
        ("--tamper", "newline"),
    ),
    ("explain nothing", "explain", ("FILE", "explain --help")),
    ("explain what is not there", "explain FOLDER/none -c FOLDER/good.toml", ("FOLDER/none", "No such file")),
    ("explain what is no delivery", "explain SECRET -c FOLDER/good.toml", ("SECRET", "saved")),
    ("a secret of an unknown provider", "gen-secret gihtub", ("gihtub", "did you mean 'github'")),
    ("a secret that is there", "gen-secret github --out SECRET", ("SECRET",)),
    ("a secret without its folder", "gen-secret github --out FOLDER/a/b/c", ()),
    ("an unknown shell", "completion tcsh", ("tcsh", "bash")),
    ("an unknown set", "ip-sets show githob", ("githob",)),
]
#: These are told and go on: an exit code of 0 is right.
ADVICE = {
    "an expired certificate",
    "an event that GitHub does not have",
    "unreachable by construction",
    "a secret without its folder",
}
