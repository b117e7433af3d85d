//! Bytes as hexadecimal digits, in lower case.

/// Writes them.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads exactly `N`; `None` if it is anything else.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_written_is_read() {
        assert_eq!(super::encode(&[0, 0xaf, 9]), "00af09");
        assert_eq!(super::decode("00af09"), Some([0, 0xaf, 9]));
        for wrong in ["", "00af", "00af0909", "00af0g", "+1+1+1", "00af\u{e4}"] {
            assert_eq!(super::decode::<3>(wrong), None, "{wrong}");
        }
    }
}
