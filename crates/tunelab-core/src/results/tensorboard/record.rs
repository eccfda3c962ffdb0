//! The records of an event file: `TFRecord` framing with masked CRC-32C.
//!
//! In: the bytes of an event. Out: the same with length and checksums, as TensorFlow's `RecordWriter`
//! writes them.

/// The reflected polynomial of Castagnoli's CRC.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// A CRC of data that holds CRCs itself would be weak: so it is turned and moved.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// One record.
pub(super) fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let checks = [masked_crc32c(&length), masked_crc32c(data)].map(u32::to_le_bytes);
    [&length, &checks[0][..], data, &checks[1]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_tensorflow() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // Of TensorBoard's own tests.
        assert_eq!(masked_crc32c(b"\x1a\x11CRC test, one two"), 0x5794_d08a);
        assert_eq!(masked_crc32c(&24_u64.to_le_bytes()), 0x224b_7fa3);
    }

    #[test]
    fn a_record_is_length_checksum_data_checksum() {
        let version = b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2";
        let wanted =
            [&24_u64.to_le_bytes()[..], &0x224b_7fa3_u32.to_le_bytes(), version, &0x7a57_bf86_u32.to_le_bytes()];
        assert_eq!(record(version), wanted.concat());
    }
}
