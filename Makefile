# What there is to do here: `make help`. Everything that is installed goes into CACHE, outside the checkout.

CACHE ?= $(or $(SCRUN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/scrun)
export SCRUN_CACHE := $(CACHE)
TOOLS := $(CACHE)/tools-$(shell cat pyproject.toml Makefile | cksum | cut -d' ' -f1)
ROUNDS ?= 5
CLUSTER := devcluster/devcluster
IN_LOGIN := $(CLUSTER) exec --

.PHONY: help demo test test-sites unit coverage lint integration check format docs site bench bench-memory bench-networks bench-staging bench-images faults dist deb install-test shell up down clean

help:
	@echo 'make demo         set up a Slurm cluster on this machine and run containers on it (root)'
	@echo 'make test         set it up and run all tests (root)'
	@echo 'make test-sites   smoke tests on clusters that are configured as sites are; PROFILES="noisy prolog" (root)'
	@echo 'make check        ruff, mypy, the links of the documentation, and the quick unit tests: one to two minutes on two processors'
	@echo 'make coverage     all unit tests, and which lines they leave out'
	@echo 'make format       have ruff reformat the code'
	@echo 'make docs         draw the pictures in docs/pictures, and make the site of the documentation: build/site'
	@echo 'make bench        time scrun beside the C scrun and the local runtimes (root)'
	@echo 'make bench-memory  what 50 containers that run keep of the login host'"'"'s memory; CONTAINERS=10 (root)'
	@echo 'make bench-networks  what published ports and the engines'"'"' networks cost; CONTAINERS=10 (root)'
	@echo 'make bench-images  time how quickly a large image starts with podman, by where its layers are (root)'
	@echo 'make bench-staging  time how 600 MB get to the nodes, beside the C scrun (root)'
	@echo 'make faults       what each fault leaves behind, about 20 minutes; CELLS=munged, RESUME=1 (root)'
	@echo 'make dist         the sdist and the wheel, into dist/; the wheel needs Slurm'"'"'s headers'
	@echo 'make deb          the Debian package for the Slurm that is on this host, into dist/'
	@echo 'make install-test  follow the README to install scrun on fresh Debian roots (root)'
	@echo 'make shell        a shell on the cluster'"'"'s login host, as alice (root)'
	@echo 'make down         end the cluster'
	@echo 'make clean        end the cluster and remove what was built in the checkout; the cache stays'

demo: up
	@demo/demo

test: lint site coverage integration
	@echo 'scrun: all tests passed'

check: lint site unit

lint: $(TOOLS)/.ready
	@$(TOOLS)/bin/ruff check .
	@$(TOOLS)/bin/ruff format --check .
	@$(TOOLS)/bin/mypy

# Bytecode is written even where the environment forbids it: each worker, and each Python that a test starts, would compile
# all modules anew.
UNIT := PYTHONDONTWRITEBYTECODE= PYTHONPATH=$(CURDIR)/src $(TOOLS)/bin/python -m pytest -q -n $(shell expr $$(nproc) \* 2) --dist worksteal

unit: $(TOOLS)/.ready
	@SCRUN_QUICK_TESTS=1 $(UNIT) -m 'not slow' tests/unit

coverage: $(TOOLS)/.ready
	@$(UNIT) --cov --cov-report=term tests/unit

integration:
	@tests/integration/run $(TESTS)

# PROFILES: those of devcluster/profiles, all unless set; a,b is one cluster with both
test-sites:
	@tests/integration/run-sites $(PROFILES)

format: $(TOOLS)/.ready
	@$(TOOLS)/bin/ruff check --fix-only .
	@$(TOOLS)/bin/ruff format .

docs: $(TOOLS)/.ready
	@$(TOOLS)/bin/python docs/pictures/draw.py docs/pictures/*.txt
	@$(MAKE) --no-print-directory site

# A link that leads nowhere is an error.
site: $(TOOLS)/.ready
	@docs/gather build/pages
	@$(TOOLS)/bin/mkdocs build --strict --quiet

bench: up
	@$(IN_LOGIN) sh -c 'cd /src && CPU_STAT=9 exec /opt/scrun/bin/python -B bench/bench.py' 9<"$$($(CLUSTER) cgroup)/cpu.stat"

# 50 containers need `devcluster/devcluster up --nodes 4`
bench-memory: up
	@$(IN_LOGIN) sh -c 'cd /src && CONTAINERS=$(or $(CONTAINERS),50) exec /opt/scrun/bin/python -B bench/bench.py memory'

# 50 containers, as above
bench-networks: up
	@$(IN_LOGIN) sh -c 'cd /src && CPU_STAT=9 CONTAINERS=$(or $(CONTAINERS),50) exec /opt/scrun/bin/python -B bench/bench.py networks' 9<"$$($(CLUSTER) cgroup)/cpu.stat"

bench-staging: up
	@$(IN_LOGIN) sh -c 'cd /src && ROUNDS=$(ROUNDS) exec /opt/scrun/bin/python -B bench/staging.py'

bench-images: up
	@$(IN_LOGIN) sh -c 'cd /src && ROUNDS=$(ROUNDS) exec /opt/scrun/bin/python -B bench/images.py'

# CELLS: patterns of names FAULT/WHEN/WHO, with ? for a blank: CELLS='anchor/ending reboots'
faults: up
	@$(IN_LOGIN) sh -c 'cd /src && RESUME=$(RESUME) PYTHONPATH=tests:bench exec /opt/scrun/bin/python -B -m faults "$$@"' sh $(CELLS)

dist: $(TOOLS)/.ready
	@$(TOOLS)/bin/python -m build --outdir dist .

deb:
	@packaging/deb/build dist

# SUITES and WAYS choose among them: SUITES=trixie WAYS='package pip'
install-test:
	@tests/install/run

shell: up
	@$(CLUSTER) exec --user alice

up:
	@$(CLUSTER) up

down:
	@$(CLUSTER) down

clean: down
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The tools of `check`: they need no Slurm, so no pyslurm either. Not scrun itself: several checkouts share them.
$(TOOLS)/.ready:
	@command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null || \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv; }
	@echo 'scrun: installing the tools into $(TOOLS)'
	@mkdir -p $(CACHE) && rm -rf $(TOOLS)
	@python3 -m venv $(TOOLS)
	@$(TOOLS)/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))' >$(TOOLS)/requirements.txt
	@$(TOOLS)/bin/python -m pip install -q --disable-pip-version-check -r $(TOOLS)/requirements.txt
	@touch $@
