//! ClickHouse's compressed frames, as `compress=1` and `decompress=1` carry them: 16 bytes CityHash128
//! of the rest, one byte method, two little-endian u32 (size with this 9-byte header, raw size), data.

/// Bytes of the checksum.
const CHECKSUM: usize = 16;
/// Bytes of method and sizes.
const HEADER: usize = 9;
const LZ4: u8 = 0x82;
const NONE: u8 = 0x02;
/// The largest raw frame accepted. The engine's own blocks are about 1 MiB.
const RAW_MAX: usize = 1 << 30;

/// The content of a run of frames; errors are worded as the server words them.
pub(super) fn decompress(mut frames: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    while !frames.is_empty() {
        if frames.len() < CHECKSUM + HEADER {
            return Err(exception(
                33,
                "cannot read all of a compressed frame's header",
                "CANNOT_READ_ALL_DATA",
            ));
        }
        let size = u32_at(frames, 17);
        let raw = u32_at(frames, 21);
        if size < HEADER || frames.len() < CHECKSUM + size || raw > RAW_MAX {
            return Err(exception(33, "cannot read all of a compressed frame", "CANNOT_READ_ALL_DATA"));
        }
        let (frame, rest) = frames.split_at(CHECKSUM + size);
        if frame[..CHECKSUM] != checksum(&frame[CHECKSUM..]) {
            return Err(exception(
                40,
                "checksum of a compressed frame does not match",
                "CHECKSUM_DOESNT_MATCH",
            ));
        }
        let data = &frame[CHECKSUM + HEADER..];
        match frame[CHECKSUM] {
            LZ4 => match lz4_flex::block::decompress(data, raw) {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(error) => return Err(exception(271, &error.to_string(), "CANNOT_DECOMPRESS")),
            },
            NONE => out.extend_from_slice(data),
            method => {
                let text = format!("unknown compression method {method:#x}");
                return Err(exception(89, &text, "UNKNOWN_COMPRESSION_METHOD"));
            }
        }
        frames = rest;
    }
    Ok(out)
}

/// `data` as one frame.
pub(super) fn compress(data: &[u8]) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(data);
    let mut body = Vec::with_capacity(HEADER + compressed.len());
    body.push(LZ4);
    body.extend_from_slice(&u32_of(compressed.len() + HEADER).to_le_bytes());
    body.extend_from_slice(&u32_of(data.len()).to_le_bytes());
    body.extend_from_slice(&compressed);
    let mut frame = checksum(&body).to_vec();
    frame.append(&mut body);
    frame
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let hash = cityhash_rs::cityhash_102_128(body);
    // The high half goes first, each half little-endian.
    let mut bytes = [0; CHECKSUM];
    bytes[..8].copy_from_slice(&((hash >> 64) as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&(hash as u64).to_le_bytes());
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn exception(code: u32, text: &str, name: &str) -> String {
    format!("Code: {code}. DB::Exception: {text}. ({name})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        let data = b"abcabcabcabcabc".repeat(1000);
        let mut frames = compress(&data);
        frames.extend(compress(b""));
        frames.extend(compress(b"x"));
        let mut expected = data;
        expected.push(b'x');
        assert_eq!(decompress(&frames).unwrap(), expected);
    }

    #[test]
    fn damage_is_told() {
        let mut frames = compress(b"hello hello hello");
        assert!(decompress(&frames[..frames.len() - 1]).unwrap_err().starts_with("Code: 33."));
        assert!(decompress(&frames[..7]).unwrap_err().starts_with("Code: 33."));
        let last = frames.len() - 1;
        frames[last] ^= 1;
        assert!(decompress(&frames).unwrap_err().starts_with("Code: 40."));
    }
}
