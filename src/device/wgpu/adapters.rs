//! The adapters of this system, and choosing one.

use std::fmt;

use crate::device::DeviceError;

/// Returns how to get a driver on this system.
fn install_hint() -> String {
    if cfg!(target_os = "linux") {
        let command = std::fs::read_to_string("/etc/os-release")
            .map(|text| driver_command(&text))
            .unwrap_or(DRIVER_ANY);
        format!("Install a Vulkan driver. The software driver runs everywhere: {command}")
    } else if cfg!(target_os = "windows") {
        "Update the graphics driver: DirectX 12 comes with Windows 10 and later.".into()
    } else {
        "Metal comes with macOS 10.13 and later; update the system.".into()
    }
}

const DRIVER_ANY: &str =
    "install the package of your distribution that holds Mesa's Vulkan drivers";

/// Returns the install command for the `ID` and `ID_LIKE` lines of an os-release file.
fn driver_command(os_release: &str) -> &'static str {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|ids| ids.trim_matches('"').split(' '))
        .collect();
    let is = |names: &[&str]| ids.iter().any(|id| names.contains(id));
    if is(&["debian", "ubuntu"]) {
        "sudo apt-get install mesa-vulkan-drivers"
    } else if is(&["fedora", "rhel"]) {
        "sudo dnf install mesa-vulkan-drivers"
    } else if is(&["arch"]) {
        "sudo pacman -S vulkan-swrast"
    } else {
        DRIVER_ANY
    }
}

/// An adapter as listed by [`Device::adapters`](crate::device::Device::adapters).
#[derive(Debug, Clone)]
pub struct AdapterInfo {
    /// Position in the list, by which it can be chosen.
    pub index: usize,
    /// Name as the driver gives it.
    pub name: String,
    /// Discrete, integrated or virtual GPU, or software.
    pub kind: &'static str,
    /// Vulkan, Metal or DirectX 12.
    pub backend: String,
    /// Name and version of the driver.
    pub driver: String,
}

impl fmt::Display for AdapterInfo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{}: {} ({}, {}, {})",
            self.index,
            self.name,
            self.kind,
            self.backend,
            self.driver.trim()
        )
    }
}

pub(super) fn kind(device: wgpu::DeviceType) -> &'static str {
    match device {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    }
}

fn rank(device: wgpu::DeviceType) -> u32 {
    match device {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn describe(index: usize, info: &wgpu::AdapterInfo) -> AdapterInfo {
    AdapterInfo {
        index,
        name: info.name.clone(),
        kind: kind(info.device_type),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info),
    }
}

/// Returns the adapters, best first: discrete, integrated, virtual, then software. Without
/// `every_backend`, those of the backends that `WGPU_BACKEND` allows.
async fn enumerate(every_backend: bool) -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let mut descriptor = descriptor.with_env();
    if every_backend {
        descriptor.backends = backends;
    }
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

/// Returns the adapters in the order that indices count.
pub(in crate::device) async fn adapters() -> Vec<AdapterInfo> {
    infos(&enumerate(false).await)
}

/// Whether this system may have a GPU. On Linux every driver of one needs a device file; asking for
/// the files spares loading the drivers, which takes a third of a second from a cold disk.
fn gpu_possible() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    const STARTS: [&str; 8] = [
        "dri", "dxg", "kfd", "kgsl", "mali", "nvhost", "nvidia", "pvr",
    ];
    std::fs::read_dir("/dev").map_or(true, |entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            STARTS
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
        })
    })
}

/// Returns the best adapter that is no software driver, if there is one.
pub(super) async fn gpu() -> Option<wgpu::Adapter> {
    if !gpu_possible() {
        return None;
    }
    let best = enumerate(false).await.into_iter().next()?;
    (best.get_info().device_type != wgpu::DeviceType::Cpu).then_some(best)
}

/// Returns the adapter that `wanted` names by index or part of its name.
pub(super) async fn choose(wanted: &str) -> Result<wgpu::Adapter, DeviceError> {
    let mut adapters = enumerate(false).await;
    if adapters.is_empty() {
        return Err(no_adapter());
    }
    let infos = infos(&adapters);
    let index = select(&infos, wanted).ok_or_else(|| DeviceError::UnknownAdapter {
        have: listed(&infos),
        wanted: wanted.to_owned(),
    })?;
    Ok(adapters.swap_remove(index))
}

fn no_adapter() -> DeviceError {
    let backend = std::env::var("WGPU_BACKEND").ok();
    none_found(backend, &infos(&pollster::block_on(enumerate(true))))
}

/// Returns why there is no GPU.
pub(in crate::device) fn no_gpu() -> DeviceError {
    let software = pollster::block_on(adapters());
    if software.is_empty() {
        return no_adapter();
    }
    DeviceError::UnknownAdapter {
        wanted: "gpu".into(),
        have: listed(&software),
    }
}

fn infos(adapters: &[wgpu::Adapter]) -> Vec<AdapterInfo> {
    adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| describe(index, &adapter.get_info()))
        .collect()
}

fn listed(adapters: &[AdapterInfo]) -> String {
    let line = |adapter| format!("  {adapter}\n");
    adapters
        .iter()
        .map(line)
        .chain(["  cpu: the processor, without a driver".to_owned()])
        .collect()
}

/// Returns why there is no adapter, given the value of `WGPU_BACKEND` and the adapters there would
/// be without it.
fn none_found(backend: Option<String>, without: &[AdapterInfo]) -> DeviceError {
    let advice = match backend {
        Some(backend) if !without.is_empty() => {
            format!(
                "WGPU_BACKEND={backend} excludes every adapter that is here:\n{}Unset WGPU_BACKEND to use them.",
                listed(without)
            )
        }
        _ => install_hint(),
    };
    DeviceError::NoAdapter { advice }
}

/// Returns the index of the adapter that `wanted` names: an index, or part of a name in any case.
fn select(adapters: &[AdapterInfo], wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.trim().parse::<usize>() {
        return adapters.get(index).map(|adapter| adapter.index);
    }
    let wanted = wanted.trim().to_lowercase();
    if wanted.is_empty() {
        // a part of every name
        return None;
    }
    adapters
        .iter()
        .find(|adapter| adapter.name.to_lowercase().contains(&wanted))
        .map(|adapter| adapter.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_selected_by_index_or_part_of_a_name() {
        let adapter = |index, name: &str| AdapterInfo {
            index,
            name: name.into(),
            kind: "software",
            backend: "vulkan".into(),
            driver: String::new(),
        };
        let adapters = [
            adapter(0, "NVIDIA H100"),
            adapter(1, "NVIDIA H100"),
            adapter(2, "llvmpipe (LLVM 15)"),
        ];
        assert_eq!(select(&adapters, "1"), Some(1));
        assert_eq!(select(&adapters, "LLVM"), Some(2));
        assert_eq!(select(&adapters, "nvidia"), Some(0));
        assert_eq!(select(&adapters, "3"), None);
        assert_eq!(select(&adapters, "radeon"), None);
        assert_eq!(select(&adapters, ""), None);
        assert_eq!(select(&adapters, " "), None);
    }

    #[test]
    fn the_install_command_follows_the_distribution() {
        assert!(driver_command("NAME=x\nID=debian\n").contains("apt-get"));
        assert!(driver_command("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n").contains("apt-get"));
        assert!(driver_command("ID=fedora").contains("dnf"));
        assert!(driver_command("ID=manjaro\nID_LIKE=arch").contains("pacman"));
        assert_eq!(driver_command("ID=plan9"), DRIVER_ANY);
    }

    #[test]
    fn a_backend_that_excludes_all_adapters_is_named() {
        let here = infos(&pollster::block_on(enumerate(true)));
        assert!(!here.is_empty());
        let text = none_found(Some("gl".into()), &here).to_string();
        assert!(
            text.contains("WGPU_BACKEND=gl excludes")
                && text.contains("0: ")
                && text.contains("Unset WGPU_BACKEND"),
            "{text}"
        );
        let text = none_found(Some("gl".into()), &[]).to_string();
        assert!(
            text.contains(&install_hint()) && !text.contains("WGPU_BACKEND"),
            "{text}"
        );
    }
}
