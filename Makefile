# qpsscale: an autoscaler that lives in PostgreSQL
#
#	make && make install && make installcheck	on a server of yours
#	make check		all tests, on private servers that are removed again
#	make demo		groups being scaled through a compressed day; with HOLD=1 it
#					then serves the dashboard until Ctrl-C
#	make bench		speed, beside the same calls made by bare libcurl
#	make fuzz		looks for inputs that break a promise, FUZZ_SECONDS (600)
#					for each target
#	make coverage	lines that the tests reach
#	make valgrind	the unit tests, watched by valgrind
#	make check-all	make check on every PostgreSQL within reach: as root, in
#					chroots of newer Debians, and one with sanitizers
#	make check-ha	a fail-over and back under Debian's Patroni and etcd
#	make check-k8s	a real Kubernetes API server, built from Debian's source
#	make soak		500 random kills, then thousands of cycles under watch
#	make lint		rules of the house that a compiler does not know
#	make indent		lay the C files out as PostgreSQL does
#
# PG_CONFIG names the PostgreSQL to build for.

PG_CONFIG ?= pg_config

# These goals are scripts, which build for themselves and install what is
# missing.  PGXS stays out of their way: it has a "check" of its own, which
# says "not supported" and succeeds.
SCRIPTS_OF_OURS = check check-all check-ha check-k8s demo bench fuzz coverage valgrind soak lint indent

ifneq ($(filter $(SCRIPTS_OF_OURS),$(MAKECMDGOALS)),)

.PHONY: $(MAKECMDGOALS)

check:
	@PG_CONFIG='$(PG_CONFIG)' test/run-check
demo:
	@PG_CONFIG='$(PG_CONFIG)' HOLD='$(HOLD)' test/demo
bench:
	@PG_CONFIG='$(PG_CONFIG)' test/bench/run
fuzz:
	@PG_CONFIG='$(PG_CONFIG)' test/install-packages
	@test/fuzz/run
check-all:
	@PG_CONFIG='$(PG_CONFIG)' test/check-all
check-ha:
	@PG_CONFIG='$(PG_CONFIG)' test/check-ha
check-k8s:
	@PG_CONFIG='$(PG_CONFIG)' test/check-k8s
soak:
	@PG_CONFIG='$(PG_CONFIG)' test/soak/run
coverage:
	@PG_CONFIG='$(PG_CONFIG)' test/coverage
valgrind:
	@PG_CONFIG='$(PG_CONFIG)' test/valgrind
lint:
	@test/lint
indent:
	@test/indent

# Other goals on the same command line go to a make that knows PGXS.
$(filter-out $(SCRIPTS_OF_OURS),$(MAKECMDGOALS)):
	@$(MAKE) --no-print-directory $@

else

EXTENSION = qpsscale
DATA = sql/qpsscale--1.0.0.sql $(wildcard sql/qpsscale--*--*.sql)

# qpsscale.so: what every backend may load.
MODULE_big = qpsscale
HOST_PG = module settings shared launcher databases oneshot functions \
	privileges accounts crash_points installation alerts stall forecasting backtesting \
	decision

# What a backend may do without a worker: qpsscale_decide(), forecasts.  What it
# shares with workers is in both libraries, and neither sees the other's.
BOTH_OBJS = src/pg/crash_points.o \
	$(patsubst %,src/pg/%.o,group_row store_signals store_bounds store_predictors store_rows \
	explain explain_signals json_writer) \
	$(patsubst %.c,%.o,$(sort $(wildcard src/core/*.c)))
OBJS = $(sort $(HOST_PG:%=src/pg/%.o) $(BOTH_OBJS))

# qpsscale_worker.so: what only worker processes load, which is all the rest.
WORKER = qpsscale_worker
WORKER_OBJS = $(BOTH_OBJS) $(filter-out $(OBJS),$(patsubst %.c,%.o,$(sort \
	$(wildcard src/pg/*.c src/core/*.c src/cloud/*.c src/net/*.c))))
WORKER_LIBS = -lcurl -ljansson -lxml2 -lcrypto -lm

# Each library shows the names in its map and binds its own symbols to itself:
# the server loads libraries into one global name space.
SHLIB_LINK = -lm -Wl,-Bsymbolic -Wl,--version-script=src/pg/qpsscale.map
WORKER_LINK = -Wl,-Bsymbolic -Wl,--version-script=src/pg/qpsscale_worker.map

# libxml2's headers are in a directory of their own.
XML_CPPFLAGS := $(or $(shell pkg-config --cflags libxml-2.0 2>/dev/null),-I/usr/include/libxml2)
PG_CPPFLAGS = -Isrc $(XML_CPPFLAGS)

REGRESS = $(sort $(patsubst sql/%.sql,%,$(filter-out sql/qpsscale--%,$(wildcard sql/*.sql))))
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation --load-extension=qpsscale
ifeq ($(strip $(ISOLATION)),)
undefine ISOLATION
endif

# qpsscale-httpd: a program beside the server, built where its libraries are.
HTTPD = qpsscale-httpd
HTTPD_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/httpd/*.c)))
HTTPD_LIBS = -lmicrohttpd -lpq -ljansson

EXTRA_CLEAN = $(WORKER).so $(WORKER_OBJS) $(HTTPD) $(HTTPD_OBJS) \
	$(addprefix test/isolation/,results output_iso regression.diffs regression.out)

# Inlining into compiled queries gains a control loop nothing, and would refer
# to symbols that the maps hide.
override with_llvm = no

# Say what is missing and how to get it, rather than fail in mid-compilation.
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error PostgreSQL's build files are missing ($(PG_CONFIG) --pgxs finds none). \
	On Debian: apt-get install postgresql postgresql-server-dev-all, or run test/install-packages)
endif
ifeq ($(filter clean distclean uninstall,$(MAKECMDGOALS)),)
MISSING := $(strip $(shell printf '\043if !__has_include(<%s>)\n"%s"\n\043endif\n' \
	curl/curl.h libcurl4-openssl-dev jansson.h libjansson-dev openssl/evp.h libssl-dev \
	libxml2/libxml/xmlreader.h libxml2-dev \
	| $(or $(CC),cc) $(CPPFLAGS) -E -P -x c - 2>/dev/null))
ifneq ($(MISSING),)
$(error Headers are missing. On Debian: apt-get install $(subst ",,$(MISSING)), or run test/install-packages)
endif
endif

include $(PGXS)

LIBPQ_CPPFLAGS := -I$(shell $(PG_CONFIG) --includedir)
HTTPD_MISSING := $(strip $(shell printf '\043if !__has_include(<%s>)\n%s\n\043endif\n' \
	microhttpd.h libmicrohttpd-dev libpq-fe.h libpq-dev \
	| $(or $(CC),cc) $(CPPFLAGS) $(LIBPQ_CPPFLAGS) -E -P -x c - 2>/dev/null))

# PGXS knows no headers: any of them may matter to any object.
HEADERS_OF_OURS = $(sort $(filter-out src/httpd/%,$(wildcard src/*/*.h)))
SOURCES_OF_OURS = $(sort $(filter-out src/httpd/%,$(wildcard src/*/*.c)))
$(OBJS) $(WORKER_OBJS): $(HEADERS_OF_OURS)
$(HTTPD_OBJS): $(wildcard src/httpd/*.h)
src/httpd/assets.o: $(wildcard src/httpd/assets/*)

# The same stamp in both libraries, taken from all sources, tells a worker that
# it was started by a server that still runs another build.
src/pg/installation.o src/pg/worker.o: $(SOURCES_OF_OURS)
src/pg/installation.o src/pg/worker.o: override CPPFLAGS += \
	-DQPSSCALE_BUILD_ID='"$(firstword $(shell cat $(SOURCES_OF_OURS) $(HEADERS_OF_OURS) | cksum))"'

$(MODULE_big)$(DLSUFFIX): src/pg/qpsscale.map

all: $(WORKER)$(DLSUFFIX)
$(WORKER)$(DLSUFFIX): $(WORKER_OBJS) src/pg/qpsscale_worker.map
	$(LINK.shared) -o $@ $(WORKER_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(WORKER_LINK) $(WORKER_LIBS)

.PHONY: install-worker uninstall-worker
install: install-worker
install-worker: $(WORKER)$(DLSUFFIX) installdirs
	$(INSTALL_SHLIB) $(WORKER)$(DLSUFFIX) '$(DESTDIR)$(pkglibdir)/$(WORKER)$(DLSUFFIX)'

uninstall: uninstall-worker
uninstall-worker:
	rm -f '$(DESTDIR)$(pkglibdir)/$(WORKER)$(DLSUFFIX)'

# Neither the extension nor its installation fails for want of the program.
ifeq ($(HTTPD_MISSING),)
all: $(HTTPD)
install: install-httpd
else
all: httpd-missing
endif

.PHONY: httpd-missing
httpd-missing:
	@echo '$(HTTPD) is not built; for it: apt-get install $(HTTPD_MISSING)'

$(HTTPD_OBJS): override CPPFLAGS := $(LIBPQ_CPPFLAGS) $(CPPFLAGS)
$(HTTPD): $(HTTPD_OBJS)
	$(CC) $(CFLAGS) -o $@ $(HTTPD_OBJS) $(LDFLAGS) $(HTTPD_LIBS)

.PHONY: install-httpd uninstall-httpd
install-httpd: $(HTTPD) installdirs
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(HTTPD) '$(DESTDIR)$(bindir)/$(HTTPD)'

uninstall: uninstall-httpd
uninstall-httpd:
	rm -f '$(DESTDIR)$(bindir)/$(HTTPD)'

endif
