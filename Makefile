# Short names for what is done often. `make` alone lists them.
SHELL := /bin/bash
IMAGE ?= pytorchjob-operator:dev
KIND ?= kind
TIMED := timers:: within_two_seconds

.DEFAULT_GOAL := help
.PHONY: help control-plane cluster build test simulate worlds recorded mutants mutants-cache fuzz test-kind test-memory faults soak test-sdk test-kueue test-take-over test-chart test-monitoring test-trainer test-oldest test-timeline test-dashboard screenshots site docs lint-workflows release-check node-programs node node-down torch-image demo-real test-real test-real-short lint fmt deny crds demo bench bench-plot image sbom test-image dist install deploy ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

control-plane: ## Build the Kubernetes control plane that tests, demo and bench run against (once; needs Go)
	@./tests/cluster/build.sh

cluster: control-plane ## Run a control plane with a simulated node until Ctrl-D, to try things on (KEEP=1 leaves it running)
	@KEEP="$(KEEP)" cargo run --quiet --package pytorchjob-test-cluster

build: ## Build the operator for release, and with it kubectl-pytorchjob
	cargo build --locked --release
	ln -sf pytorchjob-operator target/release/kubectl-pytorchjob

test: control-plane ## Run all tests, those against a real API server included, those that look at a clock first and alone
	cargo test --locked --workspace --test server -- $(TIMED)
	SCHEDULES=2000 cargo test --locked --profile simulation --lib simulation::every -- --include-ignored
	cargo test --locked --workspace -- $(addprefix --skip ,$(TIMED) simulation::every)

worlds: ## Search small worlds to their end, larger ones than in the tests, and say how many states they have (minutes)
	SMALL_WORLDS=$${SMALL_WORLDS:-1} cargo test --locked --release --package pytorchjob-planner --test planner worlds:: -- --nocapture

recorded: control-plane ## Record the worlds in tests/recorded again, with the plans for them (two minutes)
	cargo test --locked --test server recorded:: -- --ignored

mutants: ## Change the planner in one place at a time and see that a test fails (needs cargo-mutants; hours)
	PROPTEST_CASES=48 cargo mutants --package pytorchjob-planner --output target $(MUTANTS) --cargo-arg=--locked -- -- --skip worlds:: --skip two_attempts --skip whatever_happens

mutants-cache: ## The same for the cache of jobs and children, with the tests that stand beside it (hours)
	cargo mutants --no-config --package pytorchjob-operator --file 'src/cache/**/*.rs' --output target $(MUTANTS) --cargo-arg=--locked -- --lib -- --skip simulation::

# Without a sanitizer, for which the compiler would have to be a nightly one: what is looked for are panics, in safe code.
FUZZ := cargo fuzz run --sanitizer none
FUZZ_TIME = -max_total_time=$${FUZZ_SECONDS:-60} $(FUZZ_FLAGS)

fuzz: ## Feed arbitrary worlds, jobs, stored objects and manifests to what reads them, a minute each or FUZZ_SECONDS (needs cargo-fuzz)
	@mkdir -p fuzz/corpus/validate fuzz/corpus/stored_objects fuzz/corpus/manifests
	$(FUZZ) planner -- $(FUZZ_TIME)
	$(FUZZ) validate fuzz/corpus/validate fuzz/seeds -- $(FUZZ_TIME)
	$(FUZZ) stored_objects fuzz/corpus/stored_objects fuzz/seeds -- $(FUZZ_TIME)
	$(FUZZ) manifests fuzz/corpus/manifests examples fuzz/seeds -- $(FUZZ_TIME)

simulate: ## Run a million schedules of the simulation, or SCHEDULES of them
	SCHEDULES="$${SCHEDULES:-1000000}" cargo test --locked --profile simulation --lib simulation::every_schedule -- --nocapture

test-kind: control-plane ## Run the tests that a foreign cluster allows against the one of KUBECONFIG; kind gets the image if it has been built
	[ ! -f target/image.tar ] || ! command -v kind || kind load image-archive target/image.tar --name "$(KIND)"
	PYTORCHJOB_TEST_KUBECONFIG="$${KUBECONFIG:-$$HOME/.kube/config}" cargo test --locked --workspace

test-memory: control-plane ## Show that 200 jobs of 1 MB stay within the memory limit of the Deployment
	cargo test --locked --test server two_hundred_jobs -- --ignored --nocapture

faults: control-plane ## Let each request of an operator meet each fault (an hour; FAULT_PLAN=NAME is one plan, FAULT_PLANS=N so many)
	cargo test --locked --test faults at_any_request -- --ignored --nocapture

soak: control-plane ## Let jobs come and go with faults at random, and see that nothing is left behind (SOAK_MINUTES=30, SOAK_SEED=1)
	cargo test --locked --test faults leave_nothing_behind -- --ignored --nocapture

test-sdk: control-plane target/sdk/ready ## Run Kubeflow's Python SDK as a client (needs python3 with venv)
	SDK_PYTHON=$(CURDIR)/target/sdk/bin/python cargo test --locked --test server kubeflows_python_sdk -- --ignored --nocapture

target/sdk/ready: tests/sdk/requirements.txt
	rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@

test-kueue: control-plane ## Run the real Kueue beside the operator (needs Go and root; builds Kueue once, fifteen minutes)
	./tests/kueue/build.sh
	cargo test --locked --test server kueue:: -- --ignored --nocapture

test-take-over: control-plane ## Take jobs over from Kubeflow's operator and hand them back (needs Go and root; builds it once, three minutes)
	./tests/training-operator/build.sh
	cargo test --locked --workspace --test server training_operator:: -- --ignored --nocapture

test-chart: control-plane ## Try the Helm chart with the real Helm (needs Go; builds it once, one minute)
	./tests/helm/build.sh
	cargo test --locked --workspace --test server chart:: -- --ignored --nocapture

test-monitoring: control-plane ## Test alerts and dashboard with the real Prometheus (needs Go; builds it once, four minutes)
	./tests/prometheus/build.sh
	cd tests/prometheus && ../../target/prometheus/promtool test rules alerts.yaml
	cargo test --locked --workspace --test server monitoring:: -- --ignored --nocapture --skip a_browser

test-trainer: control-plane ## Hold what convert writes to the definitions of Kubeflow Trainer v2 (needs Go)
	./tests/trainer/build.sh
	cargo test --locked --workspace --test server convert:: -- --ignored --nocapture

# What rests on a version of Kubernetes: what the API server stores, refuses and answers.
OLDEST := apply:: bad_input:: editing::concurrent editing::rules editing::scale editing::suspend editing::warnings installing:: \
	operations:: restart_policy:: restart_strategy:: seed:: status_codes:: suspend:: taken_over::

test-oldest: control-plane ## Run tests on the oldest Kubernetes that is supported (needs Go; builds it once, five minutes)
	./tests/oldest/build.sh
	KUBEBUILDER_ASSETS=$(CURDIR)/target/oldest cargo test --locked --workspace --test server -- $(OLDEST)

test-timeline: control-plane ## Show the page of kubectl pytorchjob timeline in Chromium (Debian: apt-get install chromium)
	cargo test --locked --workspace --test server timeline::a_browser -- --ignored --nocapture

test-dashboard: control-plane ## Show the dashboard as a page in Chromium, with the real Prometheus (needs Go and Chromium)
	./tests/prometheus/build.sh
	cargo test --locked --workspace --test server monitoring::a_browser -- --ignored --nocapture

screenshots: control-plane ## Write docs/images from what test-timeline and test-dashboard show (needs Go and Chromium)
	SCREENSHOTS=1 $(MAKE) --no-print-directory test-timeline test-dashboard

node-programs: control-plane # What a real node is made of
	@./tests/node/build.sh

torch-image: ## Build the image of PyTorch for a real node from Debian's packages (once; needs root, two minutes)
	@./tests/node/torch.sh

node: node-programs ## Run a control plane with a real node, on which pods run, until make node-down (needs Go and root)
	@KEEP=1 cargo run --quiet --locked --package pytorchjob-test-cluster real

node-down: ## End what make node started, without a trace
	@sh target/cluster-down && rm target/cluster-down

demo-real: node-programs torch-image image ## Watch the operator in its own image run real PyTorch on a real node (needs Go and root)
	@KEEP="$(KEEP)" ./tests/node/demo.sh

test-real: node-programs torch-image image ## Test real failures, on a real node (needs Go and root; twenty minutes)
	cargo test --locked --workspace --test server real_node:: -- --ignored --nocapture --test-threads=1 --skip the_shortest_job
	@./tests/node/trace.sh

test-real-short: node-programs ## Run one job on a real node (needs Go and root; half a minute)
	cargo test --locked --workspace --test server the_shortest_job_runs_on_a_kubelet -- --ignored --nocapture

lint: ## Check formatting and run clippy on everything, warnings being errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

lint-workflows: ## Check the workflows in .github with actionlint (needs Go; builds it once)
	./tests/actionlint/build.sh
	target/actionlint/actionlint -color

release-check: ## Try the scripts of a release, and publish nothing (needs buildah, and Helm or make test-chart)
	@./config/release/try.sh

fmt: ## Format the code
	cargo fmt --all

deny: ## Check licences, advisories, duplicates and sources of the dependencies (needs cargo-deny)
	cargo deny --locked check

crds: ## Generate the CustomResourceDefinition from the types
	mkdir -p target && cargo run --quiet --locked -- crd > target/crd.yaml && mv target/crd.yaml crds/kubeflow.org_pytorchjobs.yaml

demo: control-plane ## Watch a job live through its edits on a real API server (KEEP=1 leaves the cluster running)
	@echo "demo: building the operator; the first time a few minutes on two cores"
	@cargo build --quiet --locked --bins --example demo && KEEP="$(KEEP)" cargo run --quiet --locked --example demo

bench: control-plane ## Measure the operator against the figures of docs/performance.md
	cargo bench --locked --bench lifecycle

bench-plot: control-plane ## Measure how costs grow with jobs and pods, and draw it (writes docs/images/growth.svg; ten minutes)
	mkdir -p docs/images && PLOT=$(CURDIR)/docs/images/growth.svg cargo bench --locked --bench lifecycle -- growth

image: ## Build the container image IMAGE, also into target/image.tar; no Docker daemon is needed (Debian: as root)
	@./config/image/build.sh "$(IMAGE)"

sbom: ## Write target/image.cdx.json, what the image is made of (CycloneDX)
	@./config/image/sbom.sh

test-image: ## Check that two builds of the image are one, and what is in it (Debian: as root; ten minutes)
	@./config/image/check.sh

docs: control-plane ## Write the pages that are generated, docs/editing.md and docs/fields.md
	UPDATE_DOCS=1 cargo test --locked --test plan the_page_of
	UPDATE_DOCS=1 cargo test --locked --test server the_page

site: ## Make the site of the pages in target/site, and check its links (Debian: as root)
	@./config/site/build.sh

dist: control-plane ## Write dist/install.yaml, everything that config/default installs, in one file
	mkdir -p target && target/control-plane/kubectl kustomize config/default > target/install.yaml && mkdir -p dist && mv target/install.yaml dist/install.yaml

install: ## Install the CustomResourceDefinition into the cluster of KUBECONFIG
	kubectl apply --server-side -k config/crd

deploy: ## Install everything, with the image IMAGE, into the cluster of KUBECONFIG
	kubectl kustomize config/default | sed 's|image: pytorchjob-operator:dev|image: $(IMAGE)|' | kubectl apply --server-side --force-conflicts -f -

ci: ## Run what the continuous integration runs
	@.ci/run
