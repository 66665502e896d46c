//! Main memory that this process can still allocate, where the system tells.

/// Returns the bytes of system memory that are free or can be freed, within the control group (such
/// as a container) of this process. Linux only.
pub(super) fn free() -> Option<u64> {
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
        let free = free().unwrap();
        assert!((1 << 20..1 << 50).contains(&free), "{free}");
    }
}
