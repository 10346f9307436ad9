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

/// The memory limit of the control groups that this process is in and what they use, in bytes.
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

fn cgroup_left() -> Option<usize> {
    cgroup().map(|(limit, used)| limit.saturating_sub(used))
}
