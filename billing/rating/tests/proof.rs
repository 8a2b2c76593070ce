//! Trees of records, and the way of one record to the root.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

mod event;

use event::event;
use permille_rating::proof::{
    Hash, Inclusion, RECORD_VERSION, RecordError, Tree, inclusion, record, record_of,
};
use permille_types::UsageEvent;
use proptest::prelude::*;

/// The leaves and roots with which implementations of Certificate Transparency test themselves.
///
/// Source: `merkle/testonly/constants.go` of transparency-dev/merkle (leaf inputs and root hashes).
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaves(count: u32) -> Vec<Hash> {
    (0..count).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect()
}

fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree.root()
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let mut tree = Tree::default();
    assert_eq!(tree.root().to_string(), ROOTS[0]);
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        tree.push(Hash::of_leaf(&hex::decode(leaf).unwrap()));
        assert_eq!(tree.root().to_string(), *root, "{} leaves", tree.size());
    }
}

#[test]
fn a_tree_goes_on_from_what_was_stored_of_it() {
    let mut whole = Tree::default();
    for leaf in leaves(100) {
        let mut stored = Tree::new(whole.size(), &whole.peaks()).unwrap();
        stored.push(leaf);
        whole.push(leaf);
        assert_eq!(stored, whole);
    }

    let refused = Tree::new(3, &[0; 32]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "32 bytes are no tree of 3 leaves: it has 2 subtrees of 32 bytes"
    );
    assert!(Tree::new(1, &[0; 31]).is_err());
}

#[test]
fn every_leaf_of_every_tree_is_proven_and_no_other() {
    for count in 1..=40 {
        let leaves = leaves(count);
        let root = root_of(&leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let way = inclusion(&leaves, index).unwrap();
            assert!(way.proves(*leaf, root), "{index} of {count}");
            assert!(!way.proves(Hash::of_leaf(b"another"), root), "{index} of {count}");
            assert!(!way.proves(*leaf, Hash::of_leaf(b"another")), "{index} of {count}");
            for elsewhere in 0..count.into() {
                let moved = Inclusion { index: elsewhere, ..way.clone() };
                let same = usize::try_from(elsewhere).unwrap() == index;
                assert_eq!(moved.proves(*leaf, root), same, "{index} of {count} at {elsewhere}");
            }
        }
        assert_eq!(inclusion(&leaves, leaves.len()), None);
    }
}

#[test]
fn a_way_that_is_too_short_or_too_long_proves_nothing() {
    let leaves = leaves(11);
    let root = root_of(&leaves);
    let way = inclusion(&leaves, 4).unwrap();

    let mut short = way.clone();
    short.path.pop();
    assert!(!short.proves(leaves[4], root));

    let mut long = way.clone();
    long.path.push(root);
    assert!(!long.proves(leaves[4], root));

    let outside = Inclusion { index: 11, ..way };
    assert!(!outside.proves(leaves[4], root));
    assert!(!Inclusion { index: 0, size: 0, path: Vec::new() }.proves(root, root));
}

#[test]
fn a_record_is_one_text_and_no_other() {
    let told = event("ERNIE-Bot", &[("input_uncached", 12), ("output_text", 5)]);
    let text = record(told.clone()).unwrap();

    // Every record reads as of one version, whatever its event's is.
    assert_eq!(record_of(&text).unwrap(), UsageEvent { version: RECORD_VERSION, ..told });
    let spaced = String::from_utf8(text.clone()).unwrap().replacen(':', ": ", 1);
    let refused = record_of(spaced.as_bytes()).unwrap_err();
    assert!(matches!(refused, RecordError::NotCanonical { .. }), "{refused}");
    assert!(matches!(record_of(b"{}").unwrap_err(), RecordError::Read(_)));
}

/// What was hashed once must be hashed alike for ever: a change of this text is a change of every
/// root that was printed.
#[test]
fn the_text_of_a_record_never_changes() {
    let mut told = event("ERNIE-Bot", &[("input_uncached", 12), ("output_text", 5)]);
    told.request_id = "01939c66-8e00-7000-8000-000000000001".parse().unwrap();
    told.version = 99;

    assert_eq!(
        String::from_utf8(record(told).unwrap()).unwrap(),
        concat!(
            r#"{"version":4,"request_id":"01939c66-8e00-7000-8000-000000000001","#,
            r#""at":"2026-11-24T12:00:00Z","customer":"acme","project":"web","key":"key-1","#,
            r#""session":"chat-1","session_explicit":true,"turn":1,"family":"openai","#,
            r#""endpoint":"chat_completions","model_requested":"ERNIE-Bot","status":200,"#,
            r#""streamed":false,"ended":"complete","source":"reported","#,
            r#""tokens":{"input_uncached":12,"output_text":5},"attempts":[],"latency_ms":1}"#,
        )
    );
}

#[test]
fn a_hash_is_64_digits_as_text_and_as_json() {
    let hash: Hash = ROOTS[1].parse().unwrap();

    let json = serde_json::to_string(&hash).unwrap();

    assert_eq!(json, format!("\"{}\"", ROOTS[1]));
    assert_eq!(serde_json::from_str::<Hash>(&json).unwrap(), hash);
    let other = ROOTS[1].replacen('6', "x", 1);
    assert_eq!(
        other.parse::<Hash>().unwrap_err().to_string(),
        format!("`{other}` is no hash; accepted: 64 hexadecimal digits")
    );
}

proptest! {
    #[test]
    fn any_change_of_any_leaf_shows_in_the_root(
        count in 1_u32..200,
        at in 0_usize..200,
        more in 0_u32..3,
    ) {
        let mut changed = leaves(count);
        let root = root_of(&changed);
        let at = at % changed.len();

        let mut dropped = changed.clone();
        dropped.remove(at);
        prop_assert_ne!(root_of(&dropped), root);
        let mut added = changed.clone();
        added.insert(at, Hash::of_leaf(&more.to_le_bytes()));
        prop_assert_ne!(root_of(&added), root);
        if at > 0 {
            let mut swapped = changed.clone();
            swapped.swap(at, at - 1);
            prop_assert_ne!(root_of(&swapped), root);
        }
        changed[at] = Hash::of_leaf(b"another");
        prop_assert_ne!(root_of(&changed), root);
    }
}
