# Thin: everything but the driver is cargo's work.

.PHONY: train test driver

# Train the default model on the shipped drawings (about 4 minutes on two CPU cores, seconds on a GPU).
train: driver
	cargo run --release --bin train

# All tests. They fail where there is no adapter.
test: driver
	cargo test --workspace

# A Vulkan driver that runs on the CPU, where no adapter is found. Metal and DirectX 12 come with their systems.
driver:
	@sh tools/driver.sh
