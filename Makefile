# The front door: `make` alone lists what it can do. Every target does its own set-up.
# Paths in recipes are relative, so that a clone in a folder with spaces in its name works.
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Ansible wants a UTF-8 locale, and only this repository's settings.
export LC_ALL := C.UTF-8
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
unexport ANSIBLE_COLLECTIONS_PATH ANSIBLE_INVENTORY ANSIBLE_ROLES_PATH PYTHONHOME PYTHONPATH
# molecule looks for scenarios of a collection elsewhere.
export MOLECULE_GLOB := molecule/*/molecule.yml

# Containers with a real systemd need root: sudo asks for its password where it has to.
BECOME = $(shell [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null || echo ANSIBLE_BECOME_ASK_PASS=true)

STAGES := lint unit sanity importer test-fleet test-inference test-wsl test-boot-quick

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 26

.PHONY: setup
setup: .venv/ready ## make .venv with all development tools (every other target does this first)
.venv/ready: pyproject.toml $(wildcard constraints/py3.1*.txt) constraints/collections.txt tools/setup tools/find_python tools/bundled_collections.py
	@tools/setup

.PHONY: demo
demo: setup ## light the simulated fleet: 6 machines in containers, installed, proven, and a table of them
	tools/machine_packages
	$(BECOME) ansible-playbook molecule/fleet/create.yml
	ansible-playbook -i inventories/demo site.yml

.PHONY: demo-down
demo-down: setup ## remove everything that the demo made
	$(BECOME) ansible-playbook molecule/fleet/destroy.yml -e '{"fleet_purge": true}'

.PHONY: test
test: setup ## run everything that must pass before a change is merged, with the time of each stage
	@+tools/stages $(STAGES)

.PHONY: lint
lint: setup ## ansible-lint, yamllint, ruff, mypy, changelog: seconds
	ruff check
	ruff format --check
	yamllint -s .
	vermin --quiet --no-tips --violations --target=3.9- plugins/modules plugins/module_utils
	mypy -p ansible_collections.lamplighter.fleet.plugins
	mypy tools $(wildcard tests/standins)
	antsibull-changelog lint
	ansible-lint --profile production --strict --offline

.PHONY: unit
unit: setup ## the unit tests, with branch coverage: seconds
	pytest -q --cov --cov-report=term

.PHONY: sanity
sanity: setup ## ansible-test sanity on the collection as users get it, and target code on Python 3.9
	tools/sanity
	tools/unit_target

.PHONY: importer
importer: setup ## build the collection and pass it through Galaxy's own importer
	tools/importer

.PHONY: test-fleet
test-fleet: setup ## molecule on the simulated fleet: check, converge, idempotence, check, verify
	tools/machine_packages
	molecule test -s fleet

.PHONY: test-inference
test-inference: setup ## molecule with a real llama-server on the processor and on software Vulkan
	tools/machine_packages
	molecule test -s inference

.PHONY: test-wsl
test-wsl: setup ## molecule on a WSL2 look-alike and the simulated Windows on its other side
	tools/machine_packages
	molecule test -s wsl

.PHONY: test-boot-quick
test-boot-quick: setup ## molecule on a virtual machine that really boots: kernel parameters, in one reboot each way
	tools/machine_packages boot
	LAMPLIGHTER_BOOT=quick molecule test -s boot

.PHONY: test-boot
test-boot: setup ## the same with every route, two boot loaders and a power cut (long, not part of `make test`)
	tools/machine_packages boot
	molecule test -s boot

.PHONY: clean
clean: ## remove what the tools made here, and nothing else
	rm -rf .venv .cache .ansible .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
