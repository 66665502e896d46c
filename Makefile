# Thin: everything but the driver is cargo's work.

.PHONY: train app test test-mlflow driver screen

# Train the default model on the shipped drawings (about 4 minutes on two CPU cores, seconds on a GPU).
train: driver
	cargo run --release --bin train

# The window: captions, where the model looks, training.
app: driver
	cargo run --release -p seemore-app

# All tests. They fail where there is no adapter.
test: driver screen
	cargo test --workspace

# Tracking against a real MLflow server, which it installs from PyPI and starts on loopback.
test-mlflow: driver
	tools/mlflow_test.sh

# A Vulkan driver that runs on the CPU, where no adapter is found. Metal and DirectX 12 come with their systems.
driver:
	@sh tools/driver.sh

# A virtual screen for the test that opens the window.
screen:
	@sh tools/screen.sh
