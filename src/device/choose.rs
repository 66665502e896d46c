//! The choice of a device by a word of the user.

use std::num::NonZero;
use std::sync::Arc;

use super::cpu::CpuExecutor;
use super::{Device, DeviceError};

/// Environment variable that chooses the device where no choice is given.
pub const DEVICE_VARIABLE: &str = "SEEMORE_DEVICE";

/// A choice of a device, as read from a word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// A GPU, else the CPU.
    Auto,
    /// The best GPU.
    Gpu,
    /// The CPU, with a number of threads.
    Cpu(Option<NonZero<usize>>),
    /// A graphics adapter, software included, by index or part of its name.
    Adapter(String),
}

impl Choice {
    fn read(word: &str) -> Choice {
        let word = word.trim();
        match word.to_lowercase().as_str() {
            "" | "auto" => Choice::Auto,
            "gpu" => Choice::Gpu,
            "cpu" => Choice::Cpu(None),
            lower => {
                let threads = lower.strip_prefix("cpu:").map(str::parse);
                match threads {
                    Some(Ok(threads)) => Choice::Cpu(Some(threads)),
                    _ => Choice::Adapter(word.to_owned()),
                }
            }
        }
    }

    /// Reads `wanted`, else the environment.
    fn of(wanted: Option<&str>) -> Choice {
        let variable = |name| std::env::var(name).ok().filter(|word| !word.is_empty());
        let wanted = wanted
            .map(str::to_owned)
            .or_else(|| variable(DEVICE_VARIABLE))
            .or_else(|| variable("WGPU_ADAPTER_NAME"));
        wanted.map_or(Choice::Auto, |word| Choice::read(&word))
    }
}

pub(super) fn open(wanted: Option<&str>) -> Result<Device, DeviceError> {
    match Choice::of(wanted) {
        Choice::Cpu(threads) => Ok(cpu(threads)),
        Choice::Auto => Ok(gpu()?.unwrap_or_else(|| cpu(None))),
        Choice::Gpu => gpu()?.ok_or_else(no_gpu),
        Choice::Adapter(name) => adapter(&name),
    }
}

/// See [`Device::open_share`].
pub(super) fn open_share(
    wanted: Option<&str>,
    local: usize,
    threads: usize,
) -> Result<Device, DeviceError> {
    let share = || cpu(NonZero::new(threads));
    let choice = Choice::of(wanted);
    match &choice {
        Choice::Cpu(None) => Ok(share()),
        Choice::Auto | Choice::Gpu => match (gpus(), &choice) {
            (0, Choice::Auto) => Ok(share()),
            (0, _) => Err(no_gpu()),
            // GPUs come before software adapters
            (gpus, _) => adapter(&(local % gpus).to_string()),
        },
        _ => open(wanted),
    }
}

fn cpu(threads: Option<NonZero<usize>>) -> Device {
    Device::with_executor(Arc::new(CpuExecutor::new(threads)))
}

#[cfg(feature = "wgpu")]
mod graphics {
    use super::*;
    use crate::device::wgpu::{WgpuExecutor, no_gpu as explain};

    fn device(executor: WgpuExecutor) -> Device {
        Device::with_executor(Arc::new(executor))
    }

    pub fn gpu() -> Result<Option<Device>, DeviceError> {
        Ok(pollster::block_on(WgpuExecutor::open_gpu())?.map(device))
    }

    pub fn adapter(name: &str) -> Result<Device, DeviceError> {
        pollster::block_on(WgpuExecutor::open(name)).map(device)
    }

    pub fn no_gpu() -> DeviceError {
        explain()
    }

    /// Number of GPUs.
    pub fn gpus() -> usize {
        let adapters = Device::adapters();
        adapters
            .iter()
            .filter(|adapter| adapter.kind != "software")
            .count()
    }
}

#[cfg(not(feature = "wgpu"))]
mod graphics {
    use super::*;

    pub fn gpu() -> Result<Option<Device>, DeviceError> {
        Ok(None)
    }

    pub fn adapter(name: &str) -> Result<Device, DeviceError> {
        Err(DeviceError::UnknownAdapter {
            wanted: name.to_owned(),
            have: "  cpu: the processor; this build has no graphics devices".to_owned(),
        })
    }

    pub fn no_gpu() -> DeviceError {
        DeviceError::NoAdapter {
            advice: "This build has no graphics devices.".to_owned(),
        }
    }

    pub fn gpus() -> usize {
        0
    }
}

use graphics::{adapter, gpu, gpus, no_gpu};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case() {
        assert_eq!(Choice::read("CPU"), Choice::Cpu(None));
        assert_eq!(Choice::read(" auto "), Choice::Auto);
        assert_eq!(Choice::read("cpu:3"), Choice::Cpu(NonZero::new(3)));
        assert_eq!(Choice::read("gpu"), Choice::Gpu);
        for name in ["cpu:0", "1", "llvmpipe", "cpu:x"] {
            assert_eq!(Choice::read(name), Choice::Adapter(name.into()));
        }
    }

    #[test]
    fn ranks_share_the_threads_of_the_processor_unless_told() {
        for (wanted, threads) in [("cpu", "2 threads"), ("cpu:3", "3 threads")] {
            let device = open_share(Some(wanted), 1, 2).unwrap();
            assert!(device.adapter().contains(threads), "{device:?}");
        }
    }

    #[test]
    fn a_number_of_threads_is_taken_by_the_processor() {
        let device = open(Some("cpu:3")).unwrap();
        assert!(device.capabilities().native);
        assert!(device.adapter().contains("3 threads"), "{device:?}");
    }
}
