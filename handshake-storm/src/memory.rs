//! Resident memory of this process.

/// Bytes resident now; nothing where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> Option<u64> {
    // In /proc/self/status rather than statm, because it tells kilobytes and not pages.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Bytes resident now; nothing where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident() -> Option<u64> {
    None
}
