# Thin: everything but the driver is cargo's work.

.PHONY: train app book figures weights test test-adapter test-weights test-mlflow test-mpi driver mpi screen spirv-val

# Train the default model on the shipped drawings (half a minute on two CPU cores).
train:
	cargo run --release --bin train

# The window: captions, where the model looks, training.
app:
	cargo run --release -p seemore-app

# The book, as pages in target/book; installs mdBook if it is missing.
book:
	@sh tools/book.sh

# The figures of the book, as its examples draw them.
figures: driver
	@sh tools/figures.sh

# Pretrained models with real weights for tests and examples, in the user's cache folder (190 MB are downloaded once).
weights:
	@tools/weights.sh

# All tests: on a GPU if there is one, else the CPU, and those of kernels on a graphics adapter too.
test: driver screen spirv-val
	cargo test --workspace

# The tests that compute, once more on the first graphics adapter.
test-adapter: driver
	SEEMORE_DEVICE=0 cargo test --workspace --lib --test decode --test training --test parity --test search --test emoji

# Pretrained models with their real weights, on the CPU and on the first graphics adapter.
test-weights: driver
	@weights=$$(tools/weights.sh) && SEEMORE_WEIGHTS="$$weights" cargo test --test weights

# Tracking against a real MLflow server, which it installs from PyPI and starts on loopback.
test-mlflow:
	tools/mlflow_test.sh

# Trainings of several ranks under Open MPI, which it installs if it is missing.
test-mpi: mpi
	cargo test --workspace --features seemore/mpi --test ranks

# A Vulkan driver that runs on the CPU, for the tests of shaders, where no adapter is found.
driver:
	@sh tools/driver.sh

# An MPI library, where there is none.
mpi:
	@sh tools/mpi.sh

# A virtual screen for the test that opens the window.
screen:
	@sh tools/screen.sh

# The program that checks kernels as Vulkan takes them.
spirv-val:
	@sh tools/spirv_val.sh
