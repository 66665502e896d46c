//! Memory that a device can still allocate, where it can be found out.

/// Returns the bytes of system memory that are free or can be freed, within the control group (such
/// as a container) of this process. Linux only.
pub(super) fn system() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = number_after(&meminfo, "MemAvailable:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(path).ok();
    groups
        .lines()
        .filter_map(|line| group(line, &read))
        .chain([1024 * kilobytes])
        .min()
}

/// Returns the number in the line of `text` that starts with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Returns the bytes that the group in a line of /proc/self/cgroup may still take, if it has a
/// limit. Cached files can be freed.
fn group(line: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?.trim_end_matches('/'));
    let (root, limit, usage, files) = if controllers.is_empty() {
        (
            "/sys/fs/cgroup",
            "memory.max",
            "memory.current",
            "inactive_file ",
        )
    } else if controllers
        .split(',')
        .any(|controller| controller == "memory")
    {
        (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file ",
        )
    } else {
        return None;
    };
    let room = |dir: &str| {
        let number = |file: &str| read(&format!("{dir}/{file}"))?.trim().parse::<u64>().ok();
        let files = read(&format!("{dir}/memory.stat"))
            .and_then(|stat| number_after(&stat, files))
            .unwrap_or(0);
        Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(files)))
    };
    // inside a container the path is the host's, and the group itself is the root
    room(&format!("{root}{path}")).or_else(|| room(root))
}

/// Returns the bytes that the driver lets this process allocate beyond what it has, in the heap of
/// the device with most left, by `VK_EXT_memory_budget`.
#[cfg(any(windows, target_os = "linux"))]
pub(super) fn vulkan(device: &wgpu::Device) -> Option<u64> {
    use ash::vk;
    // SAFETY: the handle is only read from, and dropped at the end of this function.
    #[allow(unsafe_code)]
    let device = unsafe { device.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = device.shared_instance();
    let known = device
        .enabled_device_extensions()
        .contains(&ash::ext::memory_budget::NAME);
    if !known || instance.instance_api_version() < vk::API_VERSION_1_1 {
        return None;
    }
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: Vulkan 1.1 has this function, the extension that fills the chained structure is
    // enabled, and both structures outlive the call.
    #[allow(unsafe_code)]
    unsafe {
        instance
            .raw_instance()
            .get_physical_device_memory_properties2(device.raw_physical_device(), &mut properties);
    }
    let heaps = properties.memory_properties;
    let count = heaps.memory_heap_count as usize;
    let local = (0..count).filter(|&heap| {
        heaps.memory_heaps[heap]
            .flags
            .contains(vk::MemoryHeapFlags::DEVICE_LOCAL)
    });
    local
        .map(|heap| budget.heap_budget[heap].saturating_sub(budget.heap_usage[heap]))
        .max()
}

#[cfg(not(any(windows, target_os = "linux")))]
pub(super) fn vulkan(_: &wgpu::Device) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_take_its_limit_less_what_it_holds_besides_files() {
        let files = |pairs: &'static [(&'static str, &'static str)]| {
            move |path: &str| {
                pairs
                    .iter()
                    .find(|pair| pair.0 == path)
                    .map(|pair| pair.1.to_owned())
            }
        };
        let second = files(&[
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/memory.current", "700\n"),
            (
                "/sys/fs/cgroup/a/memory.stat",
                "anon 500\ninactive_file 150\n",
            ),
        ]);
        assert_eq!(group("0::/a", &second), Some(450));
        let unlimited = files(&[
            ("/sys/fs/cgroup/memory.max", "max\n"),
            ("/sys/fs/cgroup/memory.current", "700\n"),
        ]);
        assert_eq!(group("0::/", &unlimited), None);
        // version 1 of control groups, seen from a container
        let first = files(&[
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n"),
        ]);
        assert_eq!(group("4:cpu,memory:/host/path", &first), Some(600));
        assert_eq!(group("3:cpuset:/host/path", &first), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_has_memory() {
        let free = system().unwrap();
        assert!((1 << 20..1 << 50).contains(&free), "{free}");
    }
}
