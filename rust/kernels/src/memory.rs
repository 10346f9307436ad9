//! How much memory this process may still take.

use std::fs;

/// Bytes that can still be had: the least of what the machine has available and what the control
/// groups of this process leave. `usize::MAX` where neither can be read.
pub fn headroom() -> usize {
    available().unwrap_or(usize::MAX).min(cgroup_left().unwrap_or(usize::MAX))
}

/// `MemAvailable` of the machine, in bytes.
pub fn available() -> Option<usize> {
    meminfo("MemAvailable:")
}

/// `MemTotal` of the machine, in bytes.
pub fn total() -> Option<usize> {
    meminfo("MemTotal:")
}

fn meminfo(key: &str) -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The memory limit of the control groups that this process is in and what they use, in bytes. Files that
/// are cached count as unused: the system drops them when memory runs short.
pub fn cgroup() -> Option<(usize, usize)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut tightest: Option<(usize, usize)> = None;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (root, limit, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        // A limit of any ancestor binds; inside a container the path may only exist as the root.
        let mut path = path.trim_end_matches('/');
        loop {
            let read = |name: &str| {
                fs::read_to_string(format!("{root}{path}/{name}")).ok()?.trim().parse::<usize>().ok()
            };
            if let (Some(limit), Some(used)) = (read(limit), read(used)) {
                let cached = fs::read_to_string(format!("{root}{path}/memory.stat"));
                let used = used.saturating_sub(cached.map_or(0, |stat| cached_files(&stat)));
                let left = |(limit, used): (usize, usize)| limit.saturating_sub(used);
                // Version 1 writes "no limit" as a huge number.
                if limit < 1 << 60 && tightest.is_none_or(|best| left((limit, used)) < left(best)) {
                    tightest = Some((limit, used));
                }
            }
            match path.rfind('/') {
                Some(slash) => path = &path[..slash],
                None => break,
            }
        }
    }
    tightest
}

/// The bytes of cached files in a group's `memory.stat` (with the groups below it, where version 1 has
/// a name of its own for that).
fn cached_files(stat: &str) -> usize {
    let field = |name: &str| {
        let mut fields = stat.lines().filter_map(|line| line.split_once(' '));
        fields.find(|(key, _)| *key == name)?.1.trim().parse::<usize>().ok()
    };
    let list = |name: &str| field(&format!("total_{name}")).or_else(|| field(name)).unwrap_or(0);
    list("inactive_file").saturating_add(list("active_file"))
}

fn cgroup_left() -> Option<usize> {
    cgroup().map(|(limit, used)| limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_files_are_found_in_both_versions() {
        assert_eq!(cached_files("anon 7\nfile 50\ninactive_file 30\nactive_file 12\n"), 42);
        let first = "inactive_file 1\nactive_file 1\ntotal_inactive_file 40\ntotal_active_file 5\n";
        assert_eq!(cached_files(first), 45);
        assert_eq!(cached_files("anon 7\ninactive_file many\n"), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn there_is_memory_left() {
        assert!(headroom() > 0 && available() <= total());
        assert!(cgroup().is_none_or(|(_, used)| used < total().unwrap_or(usize::MAX)));
    }
}
