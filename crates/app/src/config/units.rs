//! Durations and sizes as people write them.

use std::time::Duration;

/// `500ms`, `5s`, `1m`, `24h`, `7d`; a bare `0` is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is not a duration such as 500ms, 5s, 1m, 24h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| problem())?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 1,
        _ => return Err(problem()),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(problem)
}

/// Bytes: `1048576`, `64KiB`, `512MiB`, `1GiB`, `2GB`.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let problem = || format!("`{text}` is not a size such as 512MiB or 1GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| problem())?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(problem()),
    };
    number.checked_mul(unit).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["5", "1.5s", "-1s", "s", "", "5 s", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(size_bytes("512 MiB"), Ok(512 << 20));
        assert!(size_bytes("lots").is_err());
        assert!(size_bytes("99999999999GiB").is_err());
    }
}
