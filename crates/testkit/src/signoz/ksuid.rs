//! SigNoz's ksuid: 8 bytes of nanoseconds since 1.4e18, big-endian, 12 random bytes, in base 62.
//! Its text sorts by event time. Source: github.com/SigNoz/ksuid, used since Collector v0.111.42.

const EPOCH_NS: u64 = 1_400_000_000_000_000_000;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the text.
const LENGTH: usize = 27;

/// An id for an event at `timestamp_ns` with random bytes.
#[must_use]
pub fn random(timestamp_ns: u64) -> String {
    with_payload(timestamp_ns, rand::random())
}

/// An id for an event at `timestamp_ns` with the given bytes.
#[must_use]
pub fn with_payload(timestamp_ns: u64, payload: [u8; 12]) -> String {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&timestamp_ns.saturating_sub(EPOCH_NS).to_be_bytes());
    bytes[8..].copy_from_slice(&payload);
    let mut text = [b'0'; LENGTH];
    for digit in text.iter_mut().rev() {
        // Long division of the 160-bit number by 62.
        let mut remainder = 0;
        for byte in &mut bytes {
            let value = remainder * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_event_time_and_look_like_signoz() {
        let ids: Vec<String> =
            [1_785_924_930, 1_785_924_931].map(|s| with_payload(s * 1_000_000_000, [0xff; 12])).to_vec();
        assert!(ids[0] < ids[1]);
        assert!(ids[0].starts_with("0lNWfr"), "{}", ids[0]);
        assert_eq!(ids[0].len(), 27);
        assert_eq!(with_payload(0, [0; 12]), "0".repeat(27));
    }
}
