//! What holds of every event and every batch, whatever is in it.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use bytes::Bytes;
use events::{event, id};
use permille_types::{Batch, Sequenced, UsageEvent, UsageEventError};
use proptest::{collection, prelude::*};

mod events;

proptest! {
    #[test]
    fn any_event_reads_back_as_it_was_written(event in event()) {
        let json = event.to_json().unwrap();

        let read = UsageEvent::from_json(&json).unwrap();

        prop_assert_eq!(&read, &event);
        prop_assert_eq!(read.to_json().unwrap(), json);
    }

    #[test]
    fn any_event_is_the_same_packed(event in event()) {
        let payload = event.to_payload();

        prop_assert_eq!(&UsageEvent::from_payload(&payload).unwrap(), &event);
        prop_assert!(payload.len() <= event.to_json().unwrap().len());
    }

    #[test]
    fn packed_bytes_that_are_no_event_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(UsageEvent::from_payload(&[&[1], bytes.as_slice()].concat()).is_err());
    }

    #[test]
    fn an_event_is_one_line(event in event()) {
        prop_assert!(!event.to_json().unwrap().contains(&b'\n'));
    }

    #[test]
    fn a_torn_event_is_malformed_wherever_it_is_torn(
        event in event(),
        place in any::<prop::sample::Index>(),
    ) {
        let json = event.to_json().unwrap();

        let torn = UsageEvent::from_json(&json[..place.index(json.len())]);

        prop_assert!(matches!(torn, Err(UsageEventError::Malformed(_))));
    }

    #[test]
    fn bytes_that_are_no_event_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(UsageEvent::from_json(&bytes).is_err());
    }

    #[test]
    fn bytes_that_are_no_batch_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let body = [[2, 0].as_slice(), &bytes].concat();

        if let Ok(batch) = Batch::from_wire(body.clone().into()) {
            prop_assert_eq!(batch.to_wire(), body);
        }
    }

    #[test]
    fn a_batch_arrives_byte_for_byte_whatever_it_carries(
        node in id(),
        events in collection::vec((any::<u64>(), payload()), 1..6),
    ) {
        let events = events.into_iter().map(|(sequence, payload)| Sequenced { sequence, payload });
        let batch = Batch { node, events: events.collect() };

        let read = Batch::from_wire(batch.to_wire()).unwrap();

        prop_assert_eq!(read, batch);
    }
}

/// An event, arbitrary text or arbitrary bytes.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        event().prop_map(|event| Bytes::from(event.to_json().unwrap())),
        "[ \\[\\]{}\",:0-9a-z\\\\\n]{0,20}".prop_map(Bytes::from),
        collection::vec(any::<u8>(), 0..30).prop_map(Bytes::from),
    ]
}
