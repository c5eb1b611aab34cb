# The front door. Everything here is a line or two around CMake, ctest and the scripts in tools/.
#
#   make demo      from nothing to a working demonstration (installs packages: wants root the first time)
#   make check     from nothing to the summary of all tests (likewise)
#   make help      the rest
#
# Variables: PREFIX, DESTDIR (install), JOBS (parallel compilers), SECONDS_EACH (fuzz)

PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
SECONDS_EACH ?= 60

# What is built below (a guest kernel) must not see this make's variables and options.
unexport MAKEFLAGS MFLAGS MAKELEVEL

.DEFAULT_GOAL := build
.PHONY: help deps build program check demo bench install format lint tidy asan tsan coverage fuzz clean

define compile
cmake --preset $(1) --log-level=WARNING
cmake --build --preset $(1) -j $(JOBS)
endef

# Runs in build/coverage, over every program there.
define llvm_cov
llvm-cov-19 $(1) -instr-profile=all.profdata -ignore-filename-regex='/tests/|^/usr/' \
    $$(find . -maxdepth 1 -type f -perm -u+x -printf '-object %p ')
endef

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 16

deps: ## install the Debian packages that are missing (tools/deps --list)
	@tools/deps

build: deps ## compile the release: build/release/sluice
	$(call compile,release)

# As much of it as is needed where nothing is tested.
program: ## compile the program alone
	@tools/deps --demo
	cmake --preset release --log-level=WARNING
	cmake --build --preset release -j $(JOBS) --target sluice

# ctest says so again if the fetch, or the installation of Ceph, failed, and goes on with the other tests.
check: build ## every test, style included; in a guest kernel where this one has no ublk
	-@tools/deps --ceph
	-tests/device/run --fetch
	tests/support/aside.sh ctest --preset release -j2 || tests/support/second_look.sh build/release

demo: program ## show what Sluice does
	tools/demo

bench: build ## measure and plot: bench/
	bench/run
	bench/run --nbd
	bench/run --mirror
	bench/run --thin
	bench/run-host
	bench/run-lend
	bench/run-nbd
	bench/run-qcow2
	bench/run-crypt
	bench/run-rbd
	bench/run-drbd

install: program ## into DESTDIR and PREFIX (/usr/local), without debugging information
	DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)" --strip

tidy: ## the project's own rules of style
	tools/tidy.py

format: ## let clang-format have its way
	git ls-files -co --exclude-standard '*.cpp' '*.hpp' | xargs -r clang-format-19 -i

lint: deps ## tidy, clang-format, clang-tidy, mandoc
	cmake --preset lint --log-level=WARNING
	tools/tidy.py --headers
	git ls-files -co --exclude-standard '*.cpp' '*.hpp' | xargs -r clang-format-19 --dry-run -Werror
	find docs/man -name '*.[1-8]' -exec mandoc -T lint -W warning {} +
	run-clang-tidy-19 -quiet -j $(JOBS) -p build/lint '$(CURDIR)/(src|tests|bench)/'

asan: deps ## the tests with the address and undefined behaviour sanitizers
	$(call compile,asan)
	ctest --preset asan -j2

tsan: deps ## the tests with the thread sanitizer
	$(call compile,tsan)
	ctest --preset tsan -j2

coverage: deps ## which lines the tests run: build/coverage/report.txt and html/
	$(call compile,coverage)
	rm -rf build/coverage/profiles
	ctest --preset coverage -j2
	llvm-profdata-19 merge -o build/coverage/all.profdata build/coverage/profiles/*.profraw
	cd build/coverage && $(call llvm_cov,report) >report.txt
	cd build/coverage && $(call llvm_cov,show -format=html -output-dir=html)
	tail -n 1 build/coverage/report.txt

fuzz: deps ## every parser of outside bytes, SECONDS_EACH (60) seconds each
	tools/fuzz --seconds $(SECONDS_EACH)

clean: ## remove build/
	rm -rf build
