"""The one that makes mistakes: all of ``mistakes``, each on the command line, and what was said of it."""

from __future__ import annotations

from bench.newcomers.machine import Machine, quoted
from bench.newcomers.mistakes import ADVICE, COMMAND_LINES, CONFIGURATIONS

FOLDER = "/root/mistakes"
#: What the mistakes are made with.
FIXTURES = """
mkdir -p FOLDER && cd FOLDER && umask 077
printf 'a good secret of the mistakes' > good.secret
: > empty
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=hooks.example.com \
        -addext subjectAltName=DNS:hooks.example.com -keyout "$1" -out "$2" "${@:3}"
}
certificate key.pem cert.pem -days 90
certificate other.pem unused.pem
openssl ec -in key.pem -aes128 -passout pass:x -out locked.pem
openssl req -new -key key.pem -subj /CN=hooks.example.com -out request.pem
mkdir -p ca && : > ca/index.txt && echo 01 > ca/serial
cp key.pem expired.key
cat > ca.cnf << END
[ca]
default_ca = it
[it]
database = ca/index.txt
serial = ca/serial
new_certs_dir = ca
default_md = sha256
policy = any
[any]
commonName = supplied
END
openssl ca -batch -config ca.cnf -selfsign -keyfile key.pem -in request.pem -out expired.pem -notext \
    -startdate 20190101000000Z -enddate 20200101000000Z
cat > good.toml << END
listen = ["127.0.0.1:8080"]
upstream = "http://127.0.0.1:8000"
[route.github]
path = "/hooks"
provider = "github"
secrets = ["file:FOLDER/good.secret"]
END
"""


def here(text: str) -> str:
    """A case with the files of the fixtures in it."""
    return text.replace("SECRET", f"{FOLDER}/good.secret").replace("FOLDER", FOLDER)


def make_fixtures(machine: Machine) -> None:
    """Make what mistakes are made with, in ``FOLDER``."""
    done = machine.run("set -e\n" + FIXTURES.replace("FOLDER", FOLDER))
    assert done.code == 0, done.text


def judge(machine: Machine) -> tuple[list[str], list[str]]:
    """The mistakes that were told well, and those that were not, with what was missing."""
    make_fixtures(machine)
    cases = [(name, "check -c case.toml", text, words) for name, text, words in CONFIGURATIONS]
    cases += [(name, here(line), "", words) for name, line, words in COMMAND_LINES]
    well, badly = [], []
    for name, line, text, words in cases:
        machine.write(f"{FOLDER}/case.toml", here(text))
        said = machine.run(f"cd {quoted(FOLDER)} && timeout 20 hookward {line}")
        missing = [word for word in map(here, words) if word not in said.text]
        refused = said.code != 0 or name in ADVICE
        if missing or not refused or "Traceback" in said.text:
            badly.append(f"{name} ({said.code}): {', '.join(missing) or 'a traceback, or taken in silence'}")
        else:
            well.append(name)
    return well, badly
