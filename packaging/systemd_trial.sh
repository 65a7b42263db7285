#!/bin/sh
# What systemd_test.sh runs under the systemd of a fresh Debian: the printed units and those of the package, through a
# whole life. It ends with 0 if all of it was as it should be.
set -eu

etc=/etc/hookward
config=$etc/hookward.toml
export unit=hooks.service
url=http://127.0.0.1:8080/hooks/github

expect() { sh -c "$*" || { echo "FAILED: $*"; explain; exit 1; }; echo "ok  $*"; }
explain() { systemctl status --no-pager --lines=40 $unit hooks.socket || true; }
# A condition that comes true within 20 s.
become() {
    n=0
    until sh -c "$*"; do
        n=$((n + 1))
        [ "$n" -lt 200 ] || { echo "FAILED, though waited for: $*"; explain; exit 1; }
        sleep 0.1
    done
    echo "ok  $*"
}
is() { echo "[ \"\$(systemctl show --value --property=$1 $unit)\" = \"$2\" ]"; }
value() { systemctl show --value --property="$1" $unit; }
deliver() {
    mac=$(printf %s "$1" | openssl dgst -sha256 -hmac "$(cat $etc/github.secret)" -r | cut -d ' ' -f 1)
    curl -sS -o /dev/null -w '%{http_code}\n' --max-time 20 -H "X-Hub-Signature-256: sha256=$mac" --data-binary "$1" "$url"
}

version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
echo "systemd $version"

cat > /run/app.py << 'APP'
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("127.0.0.1", 8000), App).serve_forever()
APP
systemd-run --quiet --unit=app python3 /run/app.py

hookward gen-secret github --out $etc/github.secret
cat > $config << 'TOML'
upstream = "http://127.0.0.1:8000"
listen = ["127.0.0.1:8080"]
workers = 2
drain = "5s"

[route.github]
path = "/hooks/github"
provider = "github"
secrets = ["file:/etc/hookward/github.secret"]
TOML

echo "the units that are printed:"
hookward unit --name hooks --socket --systemd "$version" --config $config --write /etc/systemd/system
mkdir -p /etc/systemd/system/hooks.service.d
cat > /etc/systemd/system/hooks.service.d/trial.conf << 'UNIT'
[Service]
WatchdogSec=4
UNIT
chmod 0755 $etc
chmod 0644 $config
chmod 0600 $etc/github.secret
chown root:root $etc/github.secret
systemctl daemon-reload
expect 'systemd-analyze verify $unit hooks.socket'
systemctl start hooks.socket
expect "$(is ActiveState inactive)"
expect "[ $(deliver '{"zen":"who knocks starts it"}') = 200 ]"
become "$(is ActiveState active)"
expect "$(is Type "$([ "$version" -ge 253 ] && echo notify-reload || echo notify)")"
expect "systemctl status $unit | grep -q 'configuration 1 with 1 route'"
expect '! systemctl status $unit | grep -i warning'
systemd-analyze security --no-pager $unit | tail -n 1
expect 'systemd-analyze security --threshold=20 $unit > /dev/null'

echo "what it may:"
pid=$(value MainPID)
expect "grep -q 'NoNewPrivs:.1' /proc/$pid/status"
expect "grep -q 'Seccomp:.2' /proc/$pid/status"
expect "grep -q 'CapEff:.0000000000000000' /proc/$pid/status"
expect "! grep -q '^Uid:.0' /proc/$pid/status"
expect "[ \"\$(stat -c %u /proc/$pid)\" -ge 61184 ]" # of a user that exists only while it runs
expect 'systemctl show --property=Environment $unit | grep -q HOOKWARD_STATE_DIR=/var/lib/hooks && [ -d /var/lib/hooks/. ]'

echo "reloads:"
sed -i 's/^drain = .*/drain = "6s"/' $config
expect systemctl reload $unit
become "$(is StatusText "$(value StatusText | sed 's/configuration 1/configuration 2/')")"
sed -i 's/^drain/drian/' $config
expect '! systemctl reload $unit 2> /dev/null'
expect "$(is ActiveState active)"
expect "[ $(deliver '{"zen":"the old one stays"}') = 200 ]"
if [ "$version" -ge 253 ]; then
    become "systemctl show --property=StatusText $unit | grep -q 'the last reload was refused'"
fi
sed -i 's/^drian/drain/' $config
expect systemctl reload $unit
expect "$(is MainPID "$pid")"

echo "restarts and an upgrade, under load:"
touch /run/load
(while [ -e /run/load ]; do deliver '{"zen":"nobody is turned away"}' || true; done > /run/answers 2>&1) &
load=$!
become '[ "$(grep -c 200 /run/answers)" -ge 5 ]'
systemctl restart $unit
systemctl restart $unit
before=$(value MainPID)
kill -USR2 "$before"
become "$(is MainPID "$before" | sed 's/ = / != /')"
become "[ ! -e /proc/$before ]"
expect "$(is ActiveState active)"
seen=$(grep -c 200 /run/answers)
become "[ \"\$(grep -c 200 /run/answers)\" -ge $((seen + 5)) ]"
rm /run/load
wait "$load"
echo "$(wc -l < /run/answers) deliveries"
expect '! grep -v "^200$" /run/answers'

echo "the watchdog:"
expect "$(is NRestarts 0)"
kill -STOP "$(value MainPID)"
become "$(is NRestarts 1)"
become "$(is ActiveState active)"
expect "[ $(deliver '{"zen":"it is back"}') = 200 ]"
expect 'journalctl -q -u $unit | grep -q -i watchdog'

echo "the end:"
systemctl stop hooks.socket $unit
expect "$(is ActiveState inactive)"
expect "$(is Result success)"
expect "$(is ExecMainStatus 0)"
sed -i 's/^drain/drian/' $config
expect '! systemctl start $unit 2> /dev/null'
expect "$(is ExecMainStatus 78)"
expect "$(is ActiveState failed)" # and no start after a start
sed -i 's/^drian/drain/' $config
systemctl reset-failed $unit

echo "the unit of the package:"
rm -r /etc/systemd/system/hooks.service /etc/systemd/system/hooks.socket /etc/systemd/system/hooks.service.d
sed -i 's/8080/443/' $config
unit=hookward.service
url=http://127.0.0.1:443/hooks/github
chgrp hookward $etc/github.secret
chmod 0640 $etc/github.secret
systemctl daemon-reload
expect systemctl enable --now --quiet hookward.service
expect "[ $(deliver '{"zen":"a port below 1024"}') = 200 ]"
expect "[ \"\$(stat -c %U /proc/$(value MainPID))\" = hookward ]"
expect systemctl reload hookward.service
expect systemctl stop hookward.service
expect "$(is ExecMainStatus 0)"
expect '! journalctl -q -u hookward.service | grep Traceback'
