//! ClickHouse's RowBinary, as far as our SELECT lists use it.
//!
//! Integers are little-endian, strings and maps carry a LEB128 length, there are no row or column
//! marks. (ClickHouse docs, "RowBinary"; measured against 25.5 and 26.9.)

use super::{Fault, Kind};
use std::borrow::Cow;

/// Reads values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The bytes ended inside a value.
fn cut() -> Fault {
    Fault::new(Kind::Garbled, "an answer of ClickHouse ends inside a value")
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or_else(cut)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// UInt8, Bool.
    pub fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    /// UInt8 that is 0 or 1. Anything else is no answer: ClickHouse of old writes the text of an error
    /// behind the rows that it has sent.
    pub fn flag(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::new(
                Kind::Garbled,
                "an answer of ClickHouse holds neither 0 nor 1 where one must be",
            )),
        }
    }

    /// UInt32.
    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    /// UInt64.
    pub fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// Float64.
    pub fn f64(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A length: unsigned LEB128.
    #[inline]
    pub fn length(&mut self) -> Result<usize, Fault> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(usize::from(*byte))
            }
            _ => self.long_length(),
        }
    }

    fn long_length(&mut self) -> Result<usize, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| cut());
            }
        }
        Err(Fault::new(Kind::Garbled, "an answer of ClickHouse holds a length of more than 64 bits"))
    }

    /// The bytes of a String.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.length()?;
        self.take(length)
    }

    /// A String as text; what is not UTF-8 becomes U+FFFD.
    pub fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(Cow::Borrowed(""));
        }
        // Checking whole texts is much faster than looking for their first fault.
        Ok(simdutf8::basic::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_clickhouse_writes() {
        let mut bytes = vec![7];
        bytes.extend(300u32.to_le_bytes());
        bytes.extend(1.5f64.to_le_bytes());
        bytes.extend([0xAC, 0x02]); // LEB128 of 300
        bytes.extend(vec![b'x'; 300]);
        bytes.extend([2, 0xff, b'a']);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u32(), Ok(300));
        assert_eq!(reader.f64(), Ok(1.5));
        assert_eq!(reader.bytes().unwrap().len(), 300);
        assert_eq!(reader.text().unwrap(), "\u{fffd}a");
        assert!(reader.is_empty());
        assert_eq!(reader.u8().unwrap_err().kind, Kind::Garbled);
        let mut flags = Reader::new(b"\x01\x00Code: 241. DB::Exception");
        assert_eq!((flags.flag(), flags.flag()), (Ok(true), Ok(false)));
        assert_eq!(flags.flag().unwrap_err().kind, Kind::Garbled);
    }

    #[test]
    fn absurd_lengths_are_errors() {
        assert!(Reader::new(&[0xff; 12]).bytes().is_err());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).bytes().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && reader.text().is_ok() && reader.u64().is_ok() {}
        }
    }
}
