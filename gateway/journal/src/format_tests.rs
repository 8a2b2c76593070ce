//! Published bytes of format version 1 and record versions 1 and 2, and what decoding refuses.

use super::*;

/// A payload that will never change, unlike an event's JSON.
const PAYLOAD: &[u8] = br#"{"version":1}"#;

fn head() -> RecordHead {
    RecordHead {
        kind: Kind::Settled,
        sequence: 0x0102_0304_0506_0708,
        synced: 0x0102_0304_0506_0700,
        written_at_us: 1_795_495_020_000_001,
        request: Uuid::from_u128(0x0123_4567_89ab_7def_8123_4567_89ab_cdef),
    }
}

fn header() -> SegmentHeader {
    SegmentHeader {
        node: "node-1".to_owned(),
        first: 1_795_495_020_000_000,
        created_at_us: 1_795_495_020_000_001,
        previous: *b"0123456789abcdef",
    }
}

fn golden(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn a_record_of_version_2_keeps_its_published_bytes() {
    let golden = golden(include_str!("../tests/golden/record-v2.hex"));

    let mut bytes = Vec::new();
    let chain = encode_record(&mut bytes, &head(), b"fedcba9876543210", PAYLOAD).unwrap();

    assert_eq!(hex::encode(&bytes), hex::encode(&golden));
    let record = decode_record(&golden).unwrap();
    assert_eq!((record.head, record.chain, record.payload), (head(), chain, PAYLOAD));
    assert!(record.continues(b"fedcba9876543210"));
    assert!(!record.continues(b"fedcba9876543211"));
}

#[test]
fn a_record_of_version_1_still_reads() {
    let golden = golden(include_str!("../tests/golden/record-v1.hex"));

    let record = decode_record(&golden).unwrap();

    assert_eq!((record.head, record.payload), (head(), PAYLOAD));
    assert!(record.continues(b"fedcba9876543210"));
}

#[test]
fn a_segment_header_of_version_1_keeps_its_published_bytes() {
    let golden = golden(include_str!("../tests/golden/segment-v1.hex"));

    let bytes = encode_segment_header(&header());

    assert_eq!(hex::encode(&bytes), hex::encode(&golden));
    assert_eq!(decode_segment_header(&golden), Ok(header()));
}

#[test]
fn any_changed_byte_of_a_record_is_found() {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, &head(), &[7; 16], PAYLOAD).unwrap();
    for at in 0..bytes.len() {
        for mask in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert_eq!(decode_record(&changed), Err(Fault::Invalid), "byte {at}");
        }
    }
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, &head(), &[7; 16], PAYLOAD).unwrap();
    for length in 0..bytes.len() {
        assert_eq!(decode_record(&bytes[..length]), Err(Fault::Invalid), "{length} bytes");
    }
}

#[test]
fn a_record_of_a_newer_version_is_named_and_not_taken_for_damage() {
    let mut bytes = Vec::new();
    encode_record(&mut bytes, &head(), &[7; 16], PAYLOAD).unwrap();
    bytes[8] = 3;
    let checksum = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());

    assert_eq!(decode_record(&bytes), Err(Fault::Newer { what: "record version", found: 3 }));
}

#[test]
fn a_payload_above_the_bound_is_refused() {
    let payload = vec![b' '; PAYLOAD_BYTES_MAX + 1];

    let refused = encode_record(&mut Vec::new(), &head(), &[0; 16], &payload);

    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
}

#[test]
fn blank_means_every_byte_is_zero() {
    let mut bytes = vec![0; 10_000];
    assert!(is_blank(&bytes) && is_blank(&[]));
    bytes[9_999] = 1;
    assert!(!is_blank(&bytes));
}
