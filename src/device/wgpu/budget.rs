//! Memory that a graphics device can still allocate, where the driver tells.

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
