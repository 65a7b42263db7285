# Every target is a line that you could type yourself; `make help` lists them.
# The environment .venv is made by the first target that needs it and again when pyproject.toml changes.

PYTHON ?= python3
BIN     = .venv/bin
PYTEST  = $(BIN)/pytest -n auto --dist worksteal
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-lowest check fmt lint types audit bench bench-install restart page console-cost console-flat soak soak-mixed fleet reach reach-soak reach-restart reach-cost crash crash-hosts power-loss disk-faults backlog queue-bench crowd slowhttp memory-attack worst-input fuzz tls mutants receivers newcomers states clean changelog dist pyz deb rpm rpm-test deb-test systemd-test image-test reproducible

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/run.stamp ## Start hookward before a small application and send it deliveries; Ctrl-C leaves it (ARGS=--once: by itself)
	@$(BIN)/python -m proxy demo $(ARGS)

test: .venv/test.stamp ## Run the tests (ARGS="-k slack" chooses)
	$(PYTEST) $(ARGS)

test-all: .venv/test.stamp ## Run the tests three times (asyncio in debug mode, asyncio, uvloop), with more examples
	PYTHONASYNCIODEBUG=1 TEST_EXAMPLES=4 HOOKWARD_LOOP=asyncio $(PYTEST) $(ARGS)
	TEST_EXAMPLES=4 HOOKWARD_LOOP=asyncio $(PYTEST) $(ARGS)
	TEST_EXAMPLES=4 HOOKWARD_LOOP=uvloop $(PYTEST) $(ARGS)

test-lowest: .venv/run.stamp ## Run a fast part of the tests with the oldest h11 and uvloop that we promise to work with
	$(PYTHON) scripts/lowest.py $(ARGS)

check: lint types audit ## What must pass before a commit, besides the tests

fmt: .venv/test.stamp ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/test.stamp ## Look for smells and unformatted code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test.stamp ## Check the types
	$(BIN)/mypy

audit: .venv/test.stamp ## Ask whether a known hole is in what we need at run time; goes on where nobody can be asked
	$(BIN)/python scripts/audit.py

bench: .venv/test.stamp ## Measure beside other proxies (ARGS="--workloads keepalive --peers hookward,aiohttp", ARGS=--help)
	$(BIN)/python -m bench.load $(ARGS)

bench-install: .venv/test.stamp ## Install the other proxies and wrk: apt as root, the Python ones below .venv
	apt-get install -y --no-install-recommends wrk nginx libnginx-mod-http-lua libnginx-mod-http-js haproxy caddy webhook python3-venv
	/usr/bin/python3 -m venv .venv/bench/python
	.venv/bench/python/bin/python -m pip install -q h11 uvloop aiohttp
	$(PYTHON) -m venv .venv/bench/starlette
	.venv/bench/starlette/bin/pip install -q starlette uvicorn httpx httptools uvloop
	$(PYTHON) -m venv .venv/bench/proxy_py
	.venv/bench/proxy_py/bin/pip install -q proxy.py

restart: .venv/test.stamp ## Restart an upstream for 5 s under load, and lose no delivery (ARGS=--help shows more)
	$(BIN)/python -m bench.load.restart $(ARGS)

page: .venv/test.stamp ## Measure the console's pages in a real Chromium (ARGS="--pictures docs/console" takes the pictures)
	$(BIN)/python -m bench.page $(ARGS)

console-cost: .venv/test.stamp ## Measure what the console costs traffic, unwatched and with five that look on (ARGS="--rounds 20")
	$(BIN)/python -m bench.load.console cost $(ARGS)

console-flat: .venv/test.stamp ## Large bodies and small ones with the console on, for ten minutes; memory must stay flat (ARGS="--seconds 3600")
	$(BIN)/python -m bench.load.console flat $(ARGS)

soak: .venv/test.stamp ## Reload, kill and upgrade under load for a minute, and lose no delivery (ARGS=--help shows more)
	$(BIN)/python -m bench.load.soak $(ARGS)

soak-mixed: .venv/test.stamp ## Mixed traffic for ten minutes, in the clear and under TLS; memory must not creep, everything must come back
	$(BIN)/python -m bench.load.mixed $(ARGS)

fleet: .venv/test.stamp ## Kill one of three hookwards after the other behind HAProxy for a minute; nothing comes twice, nothing is lost
	$(BIN)/python -m bench.load.fleet $(ARGS)

crash: .venv/test.stamp ## Kill a loaded hookward that keeps deliveries, and lose none that was told 2xx (ARGS="--kills 1000")
	$(BIN)/python -m bench.queue.crash $(ARGS)

crash-hosts: .venv/test.stamp ## Kill three hookwards behind HAProxy and the Redis that they keep in, and lose none that was told 2xx (ARGS="--kills 500")
	$(BIN)/python -m bench.queue.hosts $(ARGS)

power-loss: .venv/test.stamp ## Open whatever a disk may have kept when the power fails, at every moment of a run (needs strace)
	$(BIN)/python -m bench.queue.power $(ARGS)

reach: .venv/test.stamp ## Break a relay, its agent and the network between them in 14 ways (as root; ARGS="--rounds 72 --sides 8")
	$(BIN)/python -m bench.load.reach $(ARGS)

reach-soak: .venv/test.stamp ## Deliver through relay and agent for an hour, with one fault a minute (as root; ARGS="--minutes 10")
	$(BIN)/python -m bench.load.reach_soak $(ARGS)

reach-restart: .venv/test.stamp ## Restart two relays behind HAProxy and their two agents under load; no delivery fails (ARGS="--rate 100")
	$(BIN)/python -m bench.load.reach_restart $(ARGS)

reach-cost: .venv/test.stamp ## Measure a relay and its agent beside the direct way and beside ssh -R: latency, CPU, large bodies
	$(BIN)/python -m bench.load.reach_cost $(ARGS)

disk-faults: .venv/test.stamp ## Let each call of the queue's store fail, and its disk fill up; nothing is lost (needs strace, and root)
	$(BIN)/python -m bench.queue.faults $(ARGS)

backlog: .venv/test.stamp ## Start with a million kept deliveries: how soon, how fast, in how much memory (ARGS="--records 100000")
	$(BIN)/python -m bench.queue.backlog $(ARGS)

queue-bench: .venv/test.stamp ## Measure what keeping costs: queue beside direct, and beside a sync for each delivery
	$(BIN)/python -m bench.queue.cost $(ARGS)

crowd: .venv/test.stamp ## Deliver through a crowd of 10,000 idle and trickling connections (ARGS=--help shows more)
	$(BIN)/python -m bench.attack.crowd $(ARGS)

slowhttp: .venv/test.stamp ## Deliver while slowhttptest sends and reads slowly
	$(BIN)/python -m bench.attack.slow $(ARGS)

memory-attack: .venv/test.stamp ## Attack the memory in five ways, and hold the peak to its bound
	$(BIN)/python -m bench.attack.memory $(ARGS)

worst-input: .venv/test.stamp ## Try the worst body of each family of schemes: how long it holds the loop, and its memory
	$(BIN)/python -m bench.attack.worst_input $(ARGS)

fuzz: .venv/fuzz.stamp ## Read mutated heads as h11 does, and fuzz everything that reads bytes of a peer (ARGS="--seconds 600 --keep")
	$(BIN)/python -m fuzz $(ARGS)

tls: .venv/test.stamp ## Break off, bend and garble TLS in some 80 ways, and expect the alert that is due (ARGS="--only finished")
	$(BIN)/python -m fuzz.tls $(ARGS)

mutants: .venv/mutants.stamp ## Change the core in small ways and see whether a test notices (ARGS="--minutes 30 core.content")
	$(BIN)/python scripts/mutants.py $(ARGS)

receivers: .venv/receivers.stamp ## Have buildbot and the providers' own SDKs judge what `hookward send` sends
	$(BIN)/pytest tests/whole/test_receivers.py tests/whole/test_buildbot.py $(ARGS)

newcomers: .venv/test.stamp ## Have newcomers try hookward, each on a fresh Debian, as root (ARGS="--rev v0.1.0 --only buildbot,ipv6")
	$(BIN)/python -m bench.newcomers $(ARGS)

states: .venv/run.stamp ## Draw the state machines of docs/life-of-a-request.md again, after their tables have changed
	$(BIN)/python scripts/states.py

changelog: .venv/test.stamp ## Move the fragments to CHANGELOG.md, under the version of the package (ARGS=--draft shows it)
	$(BIN)/towncrier build --yes $(ARGS)

dist: .venv/test.stamp .venv/sbom.stamp ## Build the wheel, the source archive, and the list of what is inside (CycloneDX)
	$(BIN)/python -m hatchling build
	$(BIN)/python packaging/sbom.py

pyz: .venv/test.stamp ## Build hookward.pyz with uvloop inside, and hookward-pure.pyz for any Python
	$(BIN)/python packaging/pyz.py

deb: .venv/test.stamp ## Build the Debian package
	$(BIN)/python packaging/deb.py

rpm: .venv/test.stamp ## Build the RPM, and lint it (needs rpmbuild and rpmlint)
	$(BIN)/python packaging/rpm.py

rpm-test: rpm ## Install, use and remove the RPM in a fresh system with rpm (as root, with debootstrap; ROOT=FOLDER has one)
	packaging/rpm_test.sh dist/hookward-*.rpm $(ROOT)

deb-test: deb ## Install, use, remove and purge the package in a fresh Debian (as root, with debootstrap; ROOT=FOLDER has one)
	packaging/deb_test.sh dist/hookward_*.deb $(ROOT)

systemd-test: deb ## Run the units under a real systemd, in a fresh Debian (as root, with systemd-nspawn; SUITE=bookworm, ROOT=FOLDER)
	packaging/systemd_test.sh dist/hookward_*.deb $(ROOT)

image-test: ## Run the steps of the Containerfile in a fresh Debian, and hookward in the result (as root; ROOT=FOLDER)
	packaging/image_test.sh $(ROOT)

reproducible: .venv/test.stamp ## Build wheel and source archive twice, from two places, and compare every byte
	$(BIN)/python packaging/reproducible.py

clean: ## Remove what was built, .venv too
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	@touch $@

# pip reads dependency groups only from 25.1 on, so the groups are written out for it.
.venv/test.stamp: .venv/run.stamp
	@$(BIN)/python scripts/groups.py test lint dist > .venv/groups.txt
	$(BIN)/pip install -q -r .venv/groups.txt
	@touch $@

.venv/fuzz.stamp: .venv/test.stamp
	@$(BIN)/python scripts/groups.py fuzz > .venv/fuzz.txt
	-$(BIN)/pip install -q -r .venv/fuzz.txt
	@touch $@

.venv/receivers.stamp: .venv/test.stamp
	$(PYTHON) -m venv .venv/receivers
	@$(BIN)/python scripts/groups.py receivers > .venv/receivers.txt
	.venv/receivers/bin/pip install -q -r .venv/receivers.txt
	-mkdir -p .venv/receivers/node && cd .venv/receivers/node && npm install --no-audit --no-fund --silent @octokit/webhooks @octokit/webhooks-schemas @shopify/shopify-api @linear/sdk
	@touch $@

.venv/sbom.stamp: .venv/test.stamp
	@$(BIN)/python scripts/groups.py sbom > .venv/sbom.txt
	$(BIN)/pip install -q -r .venv/sbom.txt
	@touch $@

.venv/mutants.stamp: .venv/test.stamp
	@$(BIN)/python scripts/groups.py mutants > .venv/mutants.txt
	$(BIN)/pip install -q -r .venv/mutants.txt
	@touch $@
