# `make demo` and `make test` need Python 3.11 or newer with venv, and git; the rest they install.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo lab build student-bundle dist solutions site test check-exercises check-hostile bench-grading bench-layers \
        bench-gpu-conv gpu-kernels bench-gpu-training lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

demo: .venv/ready build  ## make a class, grade it, show the scores and the feedback (build/demo)
	@$(BIN)/python -m autograder.demo

lab: .venv/ready  ## open JupyterLab on your copies of the student notebooks, in work/
	@$(BIN)/python -m cnnlab lab work

build: .venv/ready  ## bring notebooks/ and cnnlab/exercises/ up to date with their sources
	@$(BIN)/python -m autograder.build

student-bundle: build  ## what students get, as build/cnnlab-student.zip
	@$(BIN)/python -m autograder.bundle

dist: build  ## wheels for students and for instructors, in build/dist
	@$(BIN)/python -m autograder.dist

solutions: .venv/ready  ## executed solution notebooks in build/solutions
	@$(BIN)/python -m autograder.solutions

site: .venv/ready build  ## the course as a website, in build/site (the first time, some minutes)
	@$(BIN)/python -m autograder.site

# What grades, attacks or drives a browser uses every core by itself, and minds what else runs.
ALONE := tests/grading tests/hostile tests/browser tests/site
test: .venv/ready  ## run every test
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(addprefix --ignore=,$(ALONE)); first=$$?; \
	$(BIN)/python -m pytest $(ALONE); exit $$((first | $$?))

check-exercises: .venv/ready  ## check the checks: every stub, solution and mistake of every exercise
	@$(BIN)/python -m autograder.check_exercises

check-hostile: .venv/ready  ## hand in attacks, accidents and odd right answers, and count what they gain or break
	@$(BIN)/python -m tests.hostile

bench-grading: .venv/ready  ## how fast grading is, beside plain nbgrader (some minutes)
	@$(BIN)/python -m benchmarks.grading

bench-layers: .venv/ready  ## how fast cnnlab.layers is, beside torch (some minutes)
	@$(BIN)/python -m benchmarks.layers

bench-gpu-conv: .venv/ready  ## how fast the kernels of solutions/gpu are, beside cuDNN (needs a GPU; --floors does not)
	@$(BIN)/python -m benchmarks.gpu_conv

gpu-kernels: .venv/ready  ## what Triton's compiler makes of our kernels for an H100: registers, shared memory, wgmma (no GPU needed)
	@$(BIN)/python -m benchmarks.gpu_kernels

bench-gpu-training: .venv/ready  ## ResNet-50 and VGG-16 beside torchvision's (needs a GPU and torchvision)
	@$(BIN)/python -m benchmarks.gpu_training

lock: .venv/ready  ## write requirements.lock anew from pyproject.toml, with the newest versions that fit
	@$(BIN)/python -m autograder.lock

clean:  ## remove what the other targets made (.venv stays)
	rm -rf build .pytest_cache .hypothesis

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "cnnlab needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo missing). Try: make PYTHON=python3.12 demo" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo \
	  "Python's venv module is missing. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into .venv (once, a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock || { echo \
	  "The packages could not be installed; the lines above say why. Without a network they must be in pip's cache." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
